"""What a run is: from a configuration to a method, its data and its trainer, in a folder of its own."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

from torch import Tensor

from i2i import atomic
from i2i.config import CONFIG, Config, dump
from i2i.data import folders
from i2i.data.reader import Reader, cache_budget
from i2i.data.samples import FixedSamples, PairedSamples, Samples, UnpairedSamples
from i2i.errors import UserError
from i2i.method import Method
from i2i.models import build, configure, method_class, starting_weights
from i2i.prepare import Prepared
from i2i.training import checkpoint, ranks
from i2i.training.folder import settings, step_of
from i2i.training.precision import choose_device, choose_precision
from i2i.training.trainer import Stage, Trainer, Watcher, length
from i2i.validation import Validation

START = "start.safetensors"
"""The weights that a run with --init-from starts from, so that it never needs that model again."""


def create(prepared: Prepared, out: Path | None, name: str, start: dict[str, Tensor] | None = None) -> Path:
    """Make the run's folder with all that it starts from: `out`, or the next free runs/METHOD-NAME-001."""
    folder = _empty(out) if out else _numbered(Path("runs"), f"{prepared.config.method}-{name}")
    about = {"config": prepared.config.tree(), "made_with": made_with()}
    if start:
        checkpoint.export(folder / START, start, about)
    given = {key: source for key, source in prepared.config.sources.items() if source != "default"}
    made = {"made_with": about["made_with"] | {"sources": given}}
    atomic.write_text(folder / CONFIG, dump(about["config"] | made))  # from now on it is a run
    return folder


def name_of(source: str) -> str:
    """What a run is called after its data: a known name as it is, else the folder or the manifest, of two folders the first."""
    path = Path(os.path.abspath(source if Path(source).exists() else source.partition(",")[0]))  # noqa: PTH100 (of .. the real name)
    return (path.stem if path.is_file() else path.name) or "data"


def saved_config(folder: Path) -> Config:
    """The complete configuration of a run."""
    layer = settings(folder)
    return configure(layer.tree["method"], [layer])


def trainers(
    folder: Path, prepared: Prepared, watcher: Watcher, refresh: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, Trainer]]:
    """The name and the trainer of each stage of a run, in their order; a run without stages is one stage without a name.

    A stage takes its weights from the one before, so each must be trained before the next is asked for.
    """
    stages = prepared.config.by_stage()
    counted = len(_samples(prepared, Reader(prepared.config.data, 0)))
    lengths = [length(config.train, counted, ranks.join().count) for config in stages.values()]
    first = 0
    for (name, config), total in zip(stages.items(), lengths, strict=True):
        stage = Stage(first, total, sum(lengths))
        yield name, trainer(folder, replace(prepared, config=config), watcher, stage, refresh)
        first += total


def trainer(
    folder: Path,
    prepared: Prepared,
    watcher: Watcher,
    stage: Stage | None = None,
    refresh: Callable[[], None] = lambda: None,
) -> Trainer:
    """Introduce the method, the data and the trainer of one stage to each other."""
    config = prepared.config
    group = ranks.join()
    device = choose_device(config.train.device)
    precision = choose_precision(config.train.precision, device)
    reader = Reader(config.data, cache_budget(config.data) // group.count)
    samples = _samples(prepared, reader)
    stage = stage or Stage(0, *2 * (length(config.train, len(samples), group.count),))
    method = build(config)
    _start(method, config, folder, stage, watcher)
    seen, unseen = (_fixed(sides, config, reader) if sides else None for sides in (prepared.train, prepared.held_out))
    assert seen
    validation = Validation(config, unseen, seen, precision) if unseen and config.train.validate_every else None
    held_out = fingerprint(prepared.held_out) if prepared.held_out else None
    about = {"config": config.tree(), "made_with": made_with(), "data": fingerprint(prepared.train), "held_out": held_out}
    workers = config.data.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(4, (os.cpu_count() or 2) - 1)
    return Trainer(
        method,
        samples,
        unseen or seen,
        config,
        folder,
        about,
        precision=precision,
        ranks=group,
        workers=workers,
        watcher=watcher,
        stage=stage,
        validation=validation,
        refresh=refresh,
    )


def _fixed(sides: folders.Sides, config: Config, reader: Reader) -> FixedSamples:
    beside = _beside(method_class(config.method), sides)
    return FixedSamples(sides.a, sides.b, config.data, reader, config.train.seed, **beside)


def _samples(prepared: Prepared, reader: Reader) -> Samples:
    config, sides = prepared.config, prepared.train
    kind = method_class(config.method)
    if kind.data == "unpaired":
        return UnpairedSamples(sides.a, sides.b, config.data, reader, config.train.seed)
    return PairedSamples(sides.a, sides.b, config.data, reader, config.train.seed, **_beside(kind, sides))


def _beside(kind: type[Method], sides: folders.Sides) -> dict[str, Sequence[folders.Source]]:
    """What lies beside the pairs, as far as the method reads it."""
    return {name: getattr(sides, name) for name in kind.reads}


def _start(method: Method, config: Config, folder: Path, stage: Stage, watcher: Watcher) -> None:
    """Give a fresh method the weights that its stage starts from: those of another model, or of the stage before."""
    if stage.first == 0 and (folder / START).exists():
        method.load_state_dict(checkpoint.load_weights(folder / START)[0], strict=False)
    last = checkpoint.latest(folder)
    if stage.first and (last is None or step_of(last) < stage.first):
        raise UserError(f"'{folder}' has no checkpoint of step {stage.first}, where this stage starts", "resume it")
    if stage.first and last and step_of(last) == stage.first:
        weights, said = starting_weights(config, last)
        watcher.say(said)
        method.load_state_dict(weights, strict=False)


def fingerprint(sides: folders.Sides) -> dict[str, Any]:
    """What the order of the samples depends on: how many images there are, and which, by their names."""
    names = hashlib.sha256("\n".join(f"{source.name}/{source.half}" for side in (sides.a, sides.b) for source in side).encode())
    return {"x": len(sides.a), "y": len(sides.b), "names": names.hexdigest()[:16]}


def made_with() -> dict[str, str]:
    """Versions that may matter when a run is read again."""
    packages = {name: version(name) for name in ("i2i-toolbox", "torch", "torchvision", "numpy", "pillow")}
    return {"python": platform.python_version(), **packages, **_git_revision()}


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
