"""What a run is: from a configuration to a method, its data and its trainer, in a folder of its own."""

import hashlib
import math
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

from torch import Tensor

from i2i import atomic
from i2i.config import CONFIG, Config, dump, flat, from_file
from i2i.data import folders
from i2i.data.check import check
from i2i.data.locate import locate, paced
from i2i.data.reader import Reader, free_memory
from i2i.data.samples import FixedSamples, PairedSamples, Samples, UnpairedSamples
from i2i.data.settle import settle
from i2i.errors import UserError, meant
from i2i.models import build, configure, method_class, without_weights
from i2i.training import checkpoint, ranks
from i2i.training.journal import METRICS
from i2i.training.journal import rows as journal_rows
from i2i.training.precision import choose_device, choose_precision
from i2i.training.trainer import Trainer, Watcher

START = "start.safetensors"
"""The weights that a run with --init-from starts from, so that it never needs that model again."""


@dataclass(frozen=True)
class Prepared:
    """A configuration whose data was found and looked at: everything is settled, nothing has been written."""

    config: Config
    train: folders.Sides
    held_out: folders.Sides | None
    said: tuple[str, ...]


def prepare(config: Config, say: Callable[[str], None] = lambda text: None, *, decode: bool = True) -> Prepared:
    """Find the data, settle what its values are, and check everything that can be checked before training.

    Raises UserError for whatever would stop training later. `decode` also looks at every image, as
    `i2i data check` does.
    """
    if not config.data.source:
        raise UserError("there is no data to train on", "--data FOLDER, or --data scenes for the built-in set")
    choose_precision(config.train.precision, choose_device(config.train.device))
    kind = method_class(config.method).data
    group = ranks.join()
    place = group.tell(lambda: locate(config.data.source, kind, say, config.data.size))
    found = folders.find(place, config.data.layout)
    train, notes = _oriented(found.splits["train"], kind, config.data.direction)
    held_out = _oriented(found.held_out, kind, config.data.direction)[0] if found.held_out else None
    if not train.a or not train.b:
        raise UserError(
            f"no image in '{place}' has a partner of the same name", f"i2i data check {quote(place)} shows what lies there"
        )

    x_side, y_side = ("B", "A") if config.data.direction == "BtoA" else ("A", "B")
    stated = [side for side, domain in ((x_side, config.data.x), (y_side, config.data.y)) if domain]
    x, y = settle("x", train.a), settle("y", train.b)
    changes = {"source": place, "layout": found.layout}
    config = config.replaced("the data", data=changes | {
        side: domain.model_dump() for side, domain in (("x", x), ("y", y)) if getattr(config.data, side) is None
    })  # fmt: skip
    _check_networks(config)
    if decode:
        group.tell(lambda: _check_images(config, kind, "".join(stated), say))
    budget = cache_budget(config)
    said = (
        found.said + (", B to A" if config.data.direction == "BtoA" else ""),
        f"x: {len(train.a)} images, {config.data.x or x} · y: {len(train.b)} images, {config.data.y or y}"
        + (f" · held out: {len(held_out.a)} and {len(held_out.b)}" if held_out else ""),
        *([f"decoded images are kept in memory, up to {budget / 1e9:.1f} GB (data.cache_gb)"] if budget else []),
        *notes,
    )
    return Prepared(config, train, held_out, said)


def create(prepared: Prepared, out: Path | None, name: str, start: dict[str, Tensor] | None = None) -> Path:
    """Make the run's folder with all that it starts from: `out`, or the next free runs/METHOD-NAME-001."""
    folder = _empty(out) if out else _numbered(Path("runs"), f"{prepared.config.method}-{name}")
    about = {"config": prepared.config.tree(), "made_with": made_with()}
    if start:
        checkpoint.export(folder / START, start, about)
    atomic.write_text(folder / CONFIG, dump({**about["config"], "made_with": about["made_with"]}))  # from now on it is a run
    return folder


def name_of(source: str) -> str:
    """What a run is called after its data: a known name as it is, else the folder or the manifest, of two folders the first."""
    path = Path(os.path.abspath(source if Path(source).exists() else source.partition(",")[0]))  # noqa: PTH100 (of .. the real name)
    return (path.stem if path.is_file() else path.name) or "data"


def saved_config(folder: Path) -> Config:
    """The complete configuration of a run."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"'{folder}' is not a run: it has no {CONFIG}", "runs lie in runs/, one folder each")
    layer = from_file(path)
    if not isinstance(layer.tree.get("method"), str):
        raise UserError(f"'{path}' does not say which method the run trains", "it needs a line such as method: pix2pix")
    return configure(layer.tree["method"], [layer])


def trainer(folder: Path, prepared: Prepared, watcher: Watcher) -> Trainer:
    """Introduce the method, the data and the trainer of a run to each other."""
    config = prepared.config
    group = ranks.join()
    device = choose_device(config.train.device)
    precision = choose_precision(config.train.precision, device)
    method = build(config)
    if (folder / START).exists():
        method.load_state_dict(checkpoint.load_weights(folder / START)[0], strict=False)
    reader = Reader(config.data, cache_budget(config) // group.count)
    kind = PairedSamples if method.data == "paired" else UnpairedSamples
    samples: Samples = kind(prepared.train.a, prepared.train.b, config.data, reader, config.train.seed)
    shown = prepared.held_out or prepared.train
    fixed = FixedSamples(shown.a, shown.b, config.data, reader, config.train.seed)
    about = {"config": config.tree(), "made_with": made_with(), "data": fingerprint(prepared.train)}
    workers = config.data.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(4, (os.cpu_count() or 2) - 1)
    return Trainer(
        method,
        samples,
        fixed,
        config.train,
        folder,
        about,
        precision=precision,
        ranks=group,
        workers=workers,
        watcher=watcher,
    )


def fingerprint(sides: folders.Sides) -> dict[str, Any]:
    """What the order of the samples depends on: how many images there are, and which, by their names."""
    names = hashlib.sha256("\n".join(f"{source.name}/{source.half}" for side in (sides.a, sides.b) for source in side).encode())
    return {"x": len(sides.a), "y": len(sides.b), "names": names.hexdigest()[:16]}


def cache_budget(config: Config) -> int:
    """Bytes for decoded images."""
    if config.data.cache_gb is not None:
        return int(config.data.cache_gb * 1e9)
    return free_memory() // 4


def summary(folder: Path) -> dict[str, Any]:
    """Where a run stands, as plain values."""
    config = saved_config(folder)
    last, metrics = checkpoint.latest(folder), folder / METRICS
    log = journal_rows(metrics) if metrics.exists() else []
    row = log[-1] if log else {}
    return {
        "run": str(folder),
        "method": config.method,
        "data": config.data.source,
        "direction": config.data.direction,
        "x": str(config.data.x) if config.data.x else None,
        "y": str(config.data.y) if config.data.y else None,
        "step": checkpoint.step_of(last) if last else 0,
        "steps": config.train.steps or row.get("steps"),
        "epoch": row.get("epoch", 0),
        "seconds": row.get("seconds", 0),
        "losses": {name: value for name, value in row.items() if "/" in name},
        "checkpoints": [f.name for f in checkpoint.steps(folder)],
        "model": str(folder / checkpoint.MODEL) if (folder / checkpoint.MODEL).exists() else None,
    }


def made_with() -> dict[str, str]:
    """Versions that may matter when a run is read again."""
    packages = {name: version(name) for name in ("i2i-toolbox", "torch", "torchvision", "numpy", "pillow")}
    return {"python": platform.python_version(), **packages, **_git_revision()}


def _oriented(sides: folders.Sides, kind: str, direction: str) -> tuple[folders.Sides, list[str]]:
    """The sides as x and y: matched by name where the method learns from pairs, swapped where B is the input."""
    notes = []
    if kind == "paired":
        matched, alone = folders.pairs(sides)
        sides = folders.Sides([a for a, _ in matched], [b for _, b in matched])
        if alone:
            notes.append(f"{len(alone)} images have no partner and are left out, such as '{alone[0].path}'")
    return (folders.Sides(sides.b, sides.a) if direction == "BtoA" else sides), notes


def _check_images(config: Config, kind: Any, stated: str, say: Callable[[str], None]) -> str:
    """Say what would hurt training, and raise UserError for what would stop it. Returns nothing to tell."""
    report = check(
        config.data.source,
        config.data.layout,
        kind=kind,
        size=config.data.size,
        thorough=config.data.check,
        stated=stated,
        on_progress=paced(say, "data: checked", "images"),
    )
    for finding in report.findings:
        example = f", such as '{finding.files[0]}'" if finding.files else ""
        if finding.severity == "error":
            raise UserError(f"{finding.what}{example}", f"{finding.do}; i2i data check {quote(config.data.source)} shows all")
        if finding.severity == "warning":
            say(f"warning: {finding.what}{example}: {finding.do}")
    return ""


def _check_networks(config: Config) -> None:
    """Raise UserError where the networks do not have the players that are named, or the crop does not suit them."""
    method = without_weights(config)
    unknown = config.train.player_lr.keys() - method.players()
    if unknown:
        wrong, first = min(unknown), next(iter(method.players()))
        raise UserError(
            f"train.player_lr names '{wrong}', but the players are {', '.join(method.players())}",
            meant(wrong, method.players()) or f"such as --set train.player_lr.{first}={config.train.lr:g}",
        )
    size, stride, smallest = config.data.size, method.accepts().stride, method.smallest_crop()
    enough = math.ceil(smallest / stride) * stride
    if size % stride:
        raise UserError(
            f"data.size is {size}, but this generator needs a multiple of {stride}",
            f"--size {max(enough, round(size / stride) * stride)}{_or_shallower(config)}",
        )
    if size < smallest:
        raise UserError(f"data.size is {size}, but these networks need {smallest} at least", f"--size {enough}")
    if config.data.resize != "none" and config.data.resized < size:
        raise UserError(
            f"data.load_size is {config.data.resized}, smaller than data.size ({size})",
            f"--set data.load_size={size} trains without random crops",
        )


def _or_shallower(config: Config) -> str:
    """The other way out, for a generator whose stride is a setting: a U-Net."""
    depth = _halvings(config.data.size)
    is_unet = flat(config.tree()).get("model.generator.kind") == "unet"
    return f", or a shallower one: --set model.generator.depth={depth}" if is_unet and depth >= 2 else ""


def _halvings(size: int) -> int:
    """How often a side can be halved."""
    return int(math.log2(size & -size))


def _empty(folder: Path) -> Path:
    """The folder, made where it is not there. Raises UserError if something lies in it."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty", f"i2i resume {quote(str(folder))}, if it is a run; else another --out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _numbered(parent: Path, stem: str) -> Path:
    """A new folder of the next free number, of which another process may make one at the same time."""
    while True:
        folder = _next_free(parent, stem)
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if not folder.is_dir():  # `parent` itself is a file
                raise


def _next_free(folder: Path, stem: str) -> Path:
    taken = [int(f.name[len(stem) + 1 :]) for f in folder.glob(f"{stem}-*") if f.name[len(stem) + 1 :].isdecimal()]
    return folder / f"{stem}-{max(taken, default=0) + 1:03d}"


def _git_revision() -> dict[str, str]:
    """The revision of the program's own checkout, where it runs from one."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"git": done.stdout.strip()} if done.returncode == 0 else {}
