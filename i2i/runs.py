"""What a run is: from a configuration to a method, its data and its trainer; and from a run or a file back to a method."""

import hashlib
import importlib
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import atomic
from i2i.config import Config, Layer, dump, from_file, resolve
from i2i.data import catalogue, folders, scenes
from i2i.data.reader import Reader, free_memory
from i2i.data.samples import FixedSamples, PairedSamples, Samples, UnpairedSamples
from i2i.data.settle import settle
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.method import Method
from i2i.methods import METHODS, chosen
from i2i.training import checkpoint, ranks
from i2i.training.journal import METRICS
from i2i.training.journal import rows as journal_rows
from i2i.training.precision import choose_device, choose_precision
from i2i.training.trainer import Trainer, Watcher

CONFIG, START = "config.yaml", "start.safetensors"
SCENES = 200
"""How many scenes `--data scenes` makes."""


@dataclass(frozen=True)
class Prepared:
    """A configuration whose data was found and looked at: everything is settled, nothing has been written."""

    config: Config
    found: folders.Found
    train: folders.Sides
    held_out: folders.Sides | None
    said: tuple[str, ...]


def method_class(name: str) -> type[Method]:
    """The class of a method. Raises UserError with the nearest name for one that does not exist."""
    module, _, kind = chosen(name).where.partition(":")
    return getattr(importlib.import_module(module), kind)


def configure(method: str, layers: list[Layer]) -> Config:
    return resolve(method, method_class(method).Config, layers)


def build(config: Config) -> Method:
    """The method with freshly drawn weights; the seed decides them."""
    assert config.data.x and config.data.y
    torch.manual_seed(config.train.seed)
    return method_class(config.method)(config.model, config.data.x.channels, config.data.y.channels)


def data_folder() -> Path:
    """Where data sets that have a name are kept: $I2I_DATA, else a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("I2I_DATA") or cache / "i2i" / "data")


def locate(source: str, kind: str, say: Callable[[str], None], size: int = 128) -> str:
    """The place of a data set: a path as it is, `scenes` made where it is not yet there, a known name fetched."""
    if Path(source).exists() or "," in source:
        return ",".join(str(Path(part).absolute()) for part in ([source] if Path(source).exists() else source.split(",")))
    if source == "scenes":
        folder = data_folder() / f"scenes-{kind}-{SCENES}x{size}"
        if not folder.exists():
            say(f"making {SCENES} scenes of {size} pixels in {folder}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            scenes.make(folder, kind, SCENES, size)
        return str(folder)
    if re.fullmatch(r"[\w-]+", source):
        say(f"looking for the data set '{source}' in {data_folder()}")
        return str(catalogue.fetch(source, data_folder()))
    raise UserError(f"there is no folder '{source}'", f"where data has moved, change data.source in the run's {CONFIG}")


def prepare(config: Config, say: Callable[[str], None] = lambda text: None) -> Prepared:
    """Find the data, settle what its values are, and check everything that can be checked before training.

    Raises UserError for whatever would stop training later.
    """
    if not config.data.source:
        raise UserError("there is no data to train on", "--data FOLDER, or --data scenes for the built-in set")
    choose_precision(config.train.precision, choose_device(config.train.device))
    kind = method_class(config.method).data
    place = ranks.join().tell(lambda: locate(config.data.source, kind, say, size=max(128, config.data.size)))
    found = folders.find(place, config.data.layout)
    train, notes = _oriented(found.splits["train"], kind, config.data.direction)
    held_out = _oriented(found.held_out, kind, config.data.direction)[0] if found.held_out else None
    if not train.a or not train.b:
        raise UserError(f"no image in '{place}' has a partner of the same name", "i2i data check shows what lies there")

    (x, x_size), (y, y_size) = settle("x", train.a), settle("y", train.b)
    changes = {"source": place, "layout": found.layout}
    config = config.replaced("the data", data=changes | {
        side: domain.model_dump() for side, domain in (("x", x), ("y", y)) if getattr(config.data, side) is None
    })  # fmt: skip
    _check_networks(config, min(*x_size, *y_size))
    said = (
        found.said + (", B to A" if config.data.direction == "BtoA" else ""),
        f"x: {len(train.a)} images, {described(config.data.x or x)} · y: {len(train.b)} images, {described(config.data.y or y)}"
        + (f" · held out: {len(held_out.a)} and {len(held_out.b)}" if held_out else ""),
        *notes,
    )
    return Prepared(config, found, train, held_out, said)


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


def starting_weights(config: Config, path: Path) -> tuple[dict[str, Tensor], str]:
    """What a new run can take from a run, a checkpoint folder or a file, and a line that says what starts fresh.

    Past images of a history are not taken. Raises UserError where a weight has another shape, or nothing fits.
    """
    with torch.device("meta"):
        own = {name: tensor.shape for name, tensor in build(config).state_dict().items() if "history" not in name}
    stored = {name: tensor for name, tensor in checkpoint.load_weights(_weights_file(path))[0].items() if "history" not in name}
    taken = {name: tensor for name, tensor in stored.items() if name in own}
    for name, tensor in taken.items():
        if tensor.shape != own[name]:
            raise UserError(
                f"{name} is {tuple(tensor.shape)} in '{path}' and {tuple(own[name])} in the new run",
                f"train with the settings of that model: --config {path}/{CONFIG}" if (path / CONFIG).exists() else None,
            )
    if not taken:
        raise UserError(f"nothing in '{path}' fits {config.method}", f"it holds {', '.join(sorted({name.split('.')[0] for name in stored}))}")
    fresh = _grouped([name for name in own if name not in taken], taken)
    unused = _grouped([name for name in stored if name not in own], own)
    return taken, (
        f"starting from '{path}'" + (f"; fresh: {fresh}" if fresh else "") + (f"; not used: {unused}" if unused else "")
    )  # fmt: skip


def _grouped(names: list[str], others: Collection[str]) -> str:
    """Names of weights, those of a network none of whose weights is among `others` by the network's name alone."""
    networks = {name.partition(".")[0] for name in others}
    whole = sorted({name.partition(".")[0] for name in names} - networks)
    single = [name for name in names if name.partition(".")[0] in networks]
    return ", ".join([*whole, *single[:1]]) + (f" and {len(single) - 1} more" if len(single) > 1 else "")


def fingerprint(sides: folders.Sides) -> dict[str, Any]:
    """What the order of the samples depends on: how many images there are, and which, by their names."""
    names = hashlib.sha256("\n".join(f"{source.name}/{source.half}" for side in (sides.a, sides.b) for source in side).encode())
    return {"x": len(sides.a), "y": len(sides.b), "names": names.hexdigest()[:16]}


def cache_budget(config: Config) -> int:
    """Bytes for decoded images."""
    if config.data.cache_gb is not None:
        return int(config.data.cache_gb * 1e9)
    return free_memory() // 4


@dataclass(frozen=True)
class Model:
    """A trained method, ready to translate."""

    method: Method
    config: Config
    name: str

    @property
    def x(self) -> Domain:
        assert self.config.data.x
        return self.config.data.x

    @property
    def y(self) -> Domain:
        assert self.config.data.y
        return self.config.data.y


def open_model(path: Path, device: torch.device) -> Model:
    """Open a run, a checkpoint folder or a `.safetensors` file. The file itself says which networks it holds."""
    file = _weights_file(path)
    weights, about = checkpoint.load_weights(file)
    if (file.parent / checkpoint.TRAINER).exists():  # a checkpoint keeps its average beside the weights
        weights |= checkpoint.load_trainer(file.parent)["average"]
    config = configure(about["config"]["method"], [Layer(f"'{file}'", about["config"])])
    assert config.data.x and config.data.y
    with torch.device("meta"):  # no weight is drawn only to be thrown away
        method = method_class(config.method)(config.model, config.data.x.channels, config.data.y.channels)
    wanted = {name: network for name, network in method.generators().items()}
    needed = {f"{name}.{key}" for name, network in wanted.items() for key in network.state_dict()}
    missing = needed - weights.keys()
    if missing:
        raise UserError(f"'{file}' lacks {min(missing)} and {len(missing) - 1} more weights")
    method.load_state_dict({name: weights[name] for name in needed}, strict=False, assign=True)
    for network in wanted.values():
        network.to(device)
    method.eval()
    return Model(method, config, path.resolve().stem if path.is_file() else path.resolve().name)


def summary(folder: Path) -> dict[str, Any]:
    """Where a run stands, as plain values."""
    config = saved_config(folder)
    last, metrics = checkpoint.latest(folder), folder / METRICS
    row = ([{}] + (journal_rows(metrics) if metrics.exists() else []))[-1]
    return {
        "run": str(folder),
        "method": config.method,
        "data": config.data.source,
        "x": described(config.data.x) if config.data.x else None,
        "y": described(config.data.y) if config.data.y else None,
        "step": checkpoint.step_of(last) if last else 0,
        "steps": row.get("steps", config.train.steps),
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


def described(domain: Domain) -> str:
    """Such as "8-bit colour"."""
    depth = {"uint8": "8-bit", "uint16": "16-bit", "float32": f"float {domain.low:g} to {domain.high:g}"}[domain.dtype]
    return f"{depth} " + {1: "grey", 3: "colour"}.get(domain.channels, f"with {domain.channels} channels")


def _oriented(sides: folders.Sides, kind: str, direction: str) -> tuple[folders.Sides, list[str]]:
    """The sides as x and y: matched by name where the method learns from pairs, swapped where B is the input."""
    notes = []
    if kind == "paired":
        matched, alone = folders.pairs(sides)
        sides = folders.Sides([a for a, _ in matched], [b for _, b in matched])
        if alone:
            notes.append(f"{len(alone)} images have no partner and are left out, such as '{alone[0].path}'")
    return (folders.Sides(sides.b, sides.a) if direction == "BtoA" else sides), notes


def _check_networks(config: Config, smallest: int) -> None:
    """Raise UserError where the networks do not have the players that are named, or the crop does not suit them."""
    with torch.device("meta"):
        method = build(config)
    unknown = config.train.player_lr.keys() - method.players()
    if unknown:
        raise UserError(f"train.player_lr names '{min(unknown)}', but the players are {', '.join(method.players())}")
    size, accepts = config.data.size, method.accepts()
    if size % accepts.stride:
        raise UserError(
            f"data.size is {size}, but this generator needs a multiple of {accepts.stride}",
            f"--size {max(1, round(size / accepts.stride)) * accepts.stride}"
            + (f", or a shallower one: --set model.generator.depth={_depth(size)}" if _depth(size) >= 2 else ""),
        )
    if size < method.smallest_crop():
        raise UserError(f"data.size is {size}, but these networks need {method.smallest_crop()} at least")
    if config.data.resize != "none" and config.data.resized < size:
        raise UserError(
            f"data.load_size is {config.data.resized}, smaller than data.size ({size})",
            f"--set data.load_size={size} trains without random crops",
        )


def _depth(size: int) -> int:
    """How often a side can be halved."""
    return int(math.log2(size & -size))


def _empty(folder: Path) -> Path:
    """The folder, made where it is not there. Raises UserError if something lies in it."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty", f"i2i resume {folder}, if it is a run; else another --out")
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


def _weights_file(path: Path) -> Path:
    file = path / checkpoint.MODEL if path.is_dir() else path
    if not file.is_file():
        hint = f"it was not saved yet: i2i resume {path}" if (path / CONFIG).exists() else "a run, a checkpoint folder or a .safetensors file"
        raise UserError(f"there is no model in '{path}'", hint)
    return file


def _git_revision() -> dict[str, str]:
    """The revision of the program's own checkout, where it runs from one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"git": done.stdout.strip()} if done.returncode == 0 and (here.parent / ".git").exists() else {}
