"""Checkpoints: a folder for each saved step, complete or not there, and the weights alone for `translate`."""

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from i2i import atomic
from i2i.errors import UserError
from i2i.training.folder import BEST, CHECKPOINTS, LAST, MODEL, TRAINER, checkpoints, step_of


def save(run: Path, step: int, weights: Mapping[str, Tensor], trainer: dict[str, Any], about: dict[str, Any]) -> Path:
    """Write `checkpoints/step-...` with everything that training needs to go on, and point `last` at it.

    `trainer` holds tensors and plain values only, so that it loads without running any code.
    """
    folder = run / CHECKPOINTS / f"step-{step:09d}"
    with atomic.explaining(folder):
        folder.parent.mkdir(exist_ok=True)
    if not folder.exists():  # a run that is resumed and stopped at once is there already
        buffer = io.BytesIO()
        torch.save(trainer, buffer)
        with atomic.replacing_folder(folder) as scratch:
            (scratch / TRAINER).write_bytes(buffer.getbuffer())
            (scratch / MODEL).write_bytes(_packed(weights, about))
    with suppress(OSError):  # a convenience that some file systems do not have; nothing here reads it
        atomic.point(folder.parent / LAST, folder.name)
    return folder


def thin(run: Path, keep: int, best: int | None) -> None:
    """Point `best` at the checkpoint of that step, or at none, and drop all but the newest `keep` and that one."""
    saved, link = {step_of(folder): folder for folder in checkpoints(run)}, run / CHECKPOINTS / BEST
    with suppress(OSError):
        if best in saved:
            atomic.point(link, saved[best].name)
        else:
            link.unlink(missing_ok=True)
    for step in sorted(saved)[:-keep]:
        if step != best:
            with suppress(OSError):  # not worth the run; it is tried again at the next save
                atomic.remove_folder(saved[step])


def export(path: Path, weights: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write one file of weights that says itself what network they belong to."""
    atomic.write_bytes(path, _packed(weights, about))


def latest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, whatever `last` says: a kill may have come between the two writes."""
    return next(reversed(checkpoints(run)), None)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a file, and what it says about itself. Raises UserError for anything that is not a file of ours."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("i2i", "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"cannot read the model '{path}': {reason}") from None
    if not isinstance(about, dict):
        raise UserError(f"'{path}' does not say which method its weights belong to", "it was not written by i2i")
    return weights, about


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Everything in a checkpoint: all weights, what they say about themselves, and the trainer's state."""
    try:
        return (*load_weights(folder / MODEL), load_trainer(folder))
    except UserError as error:
        raise UserError(error.message, f"remove '{folder}' to go on from the checkpoint before it") from None


def load_trainer(folder: Path) -> dict[str, Any]:
    path = folder / TRAINER
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read the checkpoint '{path}': {reason}") from None


def _packed(weights: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
    return safetensors.torch.save(tensors, {"i2i": json.dumps(about)})
