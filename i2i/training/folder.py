"""What lies in the folder of a run, read without torch and without a lock, so that it may be looked at while it is trained."""

import json
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from i2i.config import CONFIG, Layer, from_file
from i2i.errors import UserError

MODEL, TRAINER, METRICS, LOCK = "model.safetensors", "trainer.pt", "metrics.jsonl", ".lock"
CHECKPOINTS, SAMPLES, LAST, BEST = "checkpoints", "samples", "last", "best"
EVALUATION = "evaluation.json"
"""What `i2i evaluate RUN` leaves in a run: what its --json prints, with when and on what."""


def settings(run: Path) -> Layer:
    """The saved configuration, as plain values. Raises UserError where the folder is no run."""
    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"'{run}' is not a run: it has no {CONFIG}", "runs lie in runs/, one folder each")
    layer = from_file(path)
    if not isinstance(layer.tree.get("method"), str):
        raise UserError(f"'{path}' does not say which method the run trains", "it needs a line such as method: pix2pix")
    return layer


def log(run: Path) -> list[dict[str, Any]]:
    """The lines of its `metrics.jsonl`, as far as there is one: the numbers of a step each.

    A last line that a kill cut short, or that is being written, is left out.
    """
    path, found = run / METRICS, []
    for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        numbers = row.items() if isinstance(row, dict) and isinstance(row.get("step"), int) else ()
        found.append({name: value for name, value in numbers if isinstance(value, int | float) and math.isfinite(value)})
    return [row for row in found if row]


def evaluation(run: Path) -> dict[str, Any] | None:
    """What the last `i2i evaluate` found."""
    try:
        tree = json.loads((run / EVALUATION).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and isinstance(tree.get("metrics"), list) else None


def checkpoints(run: Path) -> list[Path]:
    """The complete ones, oldest first."""
    folders = (run / CHECKPOINTS).glob("step-*")
    return sorted((folder for folder in folders if re.fullmatch(r"step-\d+", folder.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def pointed_at(run: Path, name: str) -> str | None:
    """The checkpoint that `last` or `best` stands for; the name itself where it is no link but a folder of its own."""
    link = run / CHECKPOINTS / name
    if not link.exists():
        return None
    return link.readlink().name if link.is_symlink() else name


def header(file: Path) -> dict[str, Any]:
    """What a file of safetensors says of its tensors, and under "__metadata__" of itself; nothing of a damaged one."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            found = json.loads(stream.read(size)) if size < file.stat().st_size else {}
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def about(file: Path) -> dict[str, Any]:
    """What was noted with the weights: the configuration, the versions, and which data they learned from."""
    try:
        found = json.loads(header(file).get("__metadata__", {}).get("i2i", "{}"))
        return found if isinstance(found, dict) else {}
    except ValueError:
        return {}


def trainer_numbers(checkpoint: Path) -> dict[str, Any]:
    """The plain values at the top of a trainer's state, such as "step", "ranks" and "seconds"; none of a damaged one."""
    try:
        with zipfile.ZipFile(checkpoint / TRAINER) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            state = _WithoutTensors(archive.open(name)).load()
        return {key: value for key, value in state.items() if isinstance(value, (int, float))}
    except Exception:  # pickles fail in many ways, and what they would have told can be missed
        return {}


class _WithoutTensors(pickle.Unpickler):
    """A reader that makes nothing of all that is not plain: no tensor is loaded, and no code that a file names can run."""

    def find_class(self, module: str, name: str) -> Any:
        return _Nothing

    def persistent_load(self, pid: Any) -> None:
        return None


class _Nothing(dict):
    def __init__(self, *_: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass
