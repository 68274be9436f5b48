"""What a training would cost: a few real steps on the real data, in a temporary place."""

import gc
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from i2i import runs
from i2i.data.loader import batches
from i2i.memory import forget_peak, free_memory, peak
from i2i.prepare import Prepared
from i2i.training import memory
from i2i.training.trainer import Nobody

MOST, SECONDS = 6, 8.0
"""Steps that are timed, a multiple of every usual cycle of players; fewer, but one at least, once so much time is over."""


@dataclass(frozen=True)
class Cost:
    """In seconds and bytes. `memory` is the most that the process held, or on a GPU what torch held there."""

    step: float
    reading: float
    """To read and resize one sample."""
    memory: int
    free: int
    """What the device has for it."""


def measure(prepared: Prepared, hopeless: float = math.inf) -> Cost:
    """Train a few steps as `train` would, in the middle of the run, where every player plays. Nothing is left behind.

    After a first step of more than `hopeless` seconds there is no second. Raises what torch raises where memory runs out.
    """
    with tempfile.TemporaryDirectory(prefix="i2i-plan-") as folder:
        try:
            return _measured(Path(folder), prepared, hopeless)
        finally:
            _give_back()


def _give_back() -> None:
    memory.give_back_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(folder: Path, prepared: Prepared, hopeless: float) -> Cost:
    gc.collect()  # the error of a measuring that ran out of memory held its tensors until now
    _give_back()
    trainer = runs.trainer(folder, prepared, Nobody())
    device = trainer.precision.device
    free = free_on(device)
    if device.type == "cpu":
        memory.keep_freed_memory()  # as in training, where it saves a tenth of the time
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()
    trainer.step = trainer.stage.total // 2
    supply = batches(trainer.samples, trainer.settings.batch, trainer.step)
    steps: list[float] = []
    readings: list[float] = []
    begin = time.monotonic()
    while len(steps) <= MOST and (len(steps) < 2 or time.monotonic() - begin < SECONDS):
        start = time.monotonic()
        batch = next(supply)
        read = time.monotonic()
        trainer.learn(batch)
        _wait(device)
        readings.append(read - start)
        steps.append(time.monotonic() - read)
        if steps[0] > hopeless:
            break
    warm = steps[1:] or steps  # the first one chooses algorithms and takes memory
    held = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak()
    return Cost(sum(warm) / len(warm), sum(readings) / len(readings) / trainer.settings.batch, held, free)


def free_on(device: torch.device) -> int:
    """Bytes that can be had on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return free_memory()


def _wait(device: torch.device) -> None:
    """Until everything that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
