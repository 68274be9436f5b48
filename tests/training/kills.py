"""Kill a training run again and again and resume it: by how many bytes does it end different from one that is left alone?

    python tests/training/kills.py --method cyclegan --kills 20 --inside 4

Kills fall at random moments, `--inside` of them while a checkpoint is being written. Runs on the CPU, without a network.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2i import atomic
from i2i.training import checkpoint
from i2i.training.folder import METRICS, log

PATIENCE = 120.0
MODEL = {
    "pix2pix": [
        *("generator.kind=resnet", "generator.blocks=1", "generator.width=4", "generator.dropout=true"),
        *("discriminator.layers=1", "discriminator.width=4"),
    ],
    "pix2pixhd": [
        *("generator.width=2", "generator.halvings=2", "generator.blocks=1", "lambda_perceptual=0"),
        *("discriminator.layers=1", "discriminator.width=4"),
    ],
    "cyclegan": ["generator.blocks=1", "generator.width=4", "discriminator.layers=1", "discriminator.width=4", "history=3"],
    "bicyclegan": [
        *("z=2", "generator.depth=3", "generator.width=4", "encoder.blocks=2", "encoder.width=4"),
        *("discriminator.layers=1", "discriminator.width=4"),
    ],
    "simgan": [
        *("refiner.blocks=1", "refiner.width=4", "discriminator.kind=patch", "discriminator.layers=1", "discriminator.width=4"),
        *("refiner_first=1", "discriminator_first=1", "history=6"),
    ],
    "crn": ["modules=3", "width=0.01", "lambda_perceptual=0", "lambda_l1=1"],
}
KIND = {
    "pix2pix": "paired",
    "pix2pixhd": "labels",
    "cyclegan": "unpaired",
    "bicyclegan": "paired",
    "simgan": "unpaired",
    "crn": "labels",
}
TRAIN = ["ema=0.9", "device=cpu", "precision=fp32", "save_every=7", "log_every=3", "sample_every=20", "samples=1"]
SEEN = {"paired": "[l1, diversity-pixels]", "labels": "[ssim]", "unpaired": "[diversity-pixels]"}
"""What is measured of a kind of data, though there are few images."""
TIMES = {"seconds": 0, "waited": 0}
"""What differs from run to run."""


def draw_images(folder: Path, kind: str, count: int = 5, size: int = 18) -> Path:
    """A small data set of noise for a kind of method."""
    random_pixels = np.random.default_rng(0)
    shape, doubled, ids = (size, size, 3), (size, 2 * size, 3), (size, size)
    sides = {
        "paired": {"train": (256, doubled)},
        "unpaired": {"trainA": (256, shape), "trainB": (256, shape)},
        "labels": {"train_label": (4, ids), "train_inst": (6, ids), "train_img": (256, shape)},
    }[kind]
    for name, (values, size_of_one) in sides.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random_pixels.integers(0, values, size_of_one, np.uint8)).save(folder / name / f"{number}.png")
    return folder


def validated(method: str, every: int) -> list[str]:
    """The settings of a run that is validated on two images."""
    return ["data.hold_back=2", f"train.validate_every={every}", f"train.metrics={SEEN[KIND[method]]}"]


def start(method: str, data: Path, run: Path, steps: int, *more: str) -> subprocess.Popen:
    settings = [*(f"model.{s}" for s in MODEL[method]), *(f"train.{s}" for s in TRAIN), "data.workers=2"]
    settings += [*validated(method, every=5), *more]
    options = [word for setting in settings for word in ("--set", setting)]
    return _i2i("train", method, "--data", str(data), "--out", str(run), "--steps", str(steps), "--size", "16", *options)


def resume(run: Path) -> subprocess.Popen:
    return _i2i("resume", str(run))


def wait_for_a_line(process: subprocess.Popen, run: Path) -> None:
    """Wait until a process has begun to write its log."""
    before = _lines(run)
    _wait(process, lambda: _lines(run) > before)


def kill_at_random(process: subprocess.Popen, run: Path, longest: float = 0.6) -> bool:
    """Kill a process within `longest` seconds after it has begun to train. False if it was done before."""
    wait_for_a_line(process, run)
    time.sleep(random.uniform(0, longest))
    return _kill(process)


def kill_inside_save(process: subprocess.Popen, run: Path) -> bool:
    """Kill a process while it writes a checkpoint. False if that was over when the kill came."""
    folder = run / "checkpoints"
    _wait(process, lambda: folder.is_dir() and _half_written(folder))
    return _kill(process) and _half_written(folder)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {errors}")


def differing_bytes(run: Path, other: Path) -> dict[str, int]:
    """The bytes that differ between two runs, for each thing in which some do: weights, training state, log, samples."""
    a, b = dict(_contents(run)), dict(_contents(other))
    counts = {name: _differing(a.get(name, b""), b.get(name, b"")) for name in a.keys() | b.keys()}
    return {name: count for name, count in counts.items() if count}


def _contents(run: Path) -> Iterator[tuple[str, bytes]]:
    last = checkpoint.latest(run)
    assert last, f"{run} has no checkpoint"
    yield "last", last.name.encode()
    for file in (last / checkpoint.MODEL, run / checkpoint.MODEL):
        for name, tensor in checkpoint.load_weights(file)[0].items():
            yield f"{file.relative_to(run)}:{name}", tensor.numpy().tobytes()
    yield from _flat(checkpoint.TRAINER, checkpoint.load_trainer(last) | TIMES)
    for row in log(run):
        yield f"{METRICS}:{row['step']}", json.dumps(row | TIMES).encode()
    yield "lines", str(_lines(run)).encode()
    for sheet in sorted((run / "samples").iterdir()):
        yield sheet.name, sheet.read_bytes()


def _flat(name: str, value: Any) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, torch.Tensor):
        yield name, value.numpy().tobytes()
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{name}/{key}", inner)
    else:
        yield name, repr(value).encode()


def _differing(a: bytes, b: bytes) -> int:
    return sum(x != y for x, y in zip_longest(a, b)) if a != b else 0


def environment() -> dict[str, str]:
    """That of a run which shares the machine with others."""
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _i2i(*words: str) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", "i2i", *words], stdout=pipe, stderr=pipe, text=True, env=environment())


def _lines(run: Path) -> int:
    path = run / METRICS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _half_written(folder: Path) -> bool:
    return any(name.startswith(atomic.MARK) for name in os.listdir(folder))  # noqa: PTH208 (the quickest look)


def _wait(process: subprocess.Popen, seen: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not seen() and process.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened for {PATIENCE:g} s")


def _kill(process: subprocess.Popen) -> bool:
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="cyclegan", choices=MODEL)
    parser.add_argument("--kills", type=int, default=12, help="in all")
    parser.add_argument("--inside", type=int, default=3, help="of them while a checkpoint is written")
    parser.add_argument("--steps", type=int, help="length of the run [default: 40 for each kill]")
    parser.add_argument("--set", action="append", default=[], help="a setting of the run, such as train.precision=bf16")
    options = parser.parse_args()
    steps = options.steps or 40 * options.kills + 40

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = draw_images(folder / "data", KIND[options.method])
        alone, killed = folder / "alone", folder / "killed"
        finish(start(options.method, data, alone, steps, *options.set))

        process = start(options.method, data, killed, steps, *options.set)
        random_kills = inside = 0
        while random_kills + inside < options.kills:
            if inside < options.inside:
                inside += kill_inside_save(process, killed)
            else:
                random_kills += kill_at_random(process, killed)
            if process.returncode == 0:
                break
            process = resume(killed)
        finish(process)
        different = differing_bytes(killed, alone)
        print(json.dumps({
            "method": options.method, "steps": steps, "kills": random_kills + inside, "inside a save": inside,
            "differing bytes": sum(different.values()), "where": different,
        }))  # fmt: skip


if __name__ == "__main__":
    main()
