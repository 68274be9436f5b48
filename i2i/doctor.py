"""Whether this installation and this machine are sound; what is wrong comes with a remedy."""

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from packaging.requirements import Requirement
from torch import nn

from i2i import images, movies
from i2i.data.locate import home
from i2i.domain import TOP
from i2i.errors import UserError
from i2i.images import ImageError, Picture
from i2i.losses import perceptual
from i2i.losses.perceptual import FeatureNetworkName
from i2i.losses.weight_files import sha256
from i2i.memory import free_memory
from i2i.training.precision import Precision, choose_device, choose_precision

Severity = Literal["ok", "note", "broken"]
PACKAGE = "i2i-toolbox"
VARIABLES = {
    "I2I_DATA": "where data sets that have a name are kept",
    "I2I_MIRROR": "a web server that has their archives",
    "I2I_WEIGHTS": "the weights of feature networks, a file or a folder",
    "XDG_CACHE_HOME": "the user's cache",
    "TORCH_HOME": "torchvision's cache of weights",
    "OMP_NUM_THREADS": "threads for computing on the CPU",
    "CUDA_VISIBLE_DEVICES": "which GPUs are seen",
    "NO_COLOR": "no colours in messages",
}
ROOM = 5e9
"""Bytes on a disk below which a few checkpoints of the papers' networks may not fit: one of CycleGAN's is 0.34 GB."""
MEMORY = 2e9
"""The papers' networks take as much, and torch itself 0.5 GB."""


@dataclass(frozen=True)
class Row:
    """One thing that was looked at."""

    group: str
    name: str
    value: str
    severity: Severity = "ok"
    remedy: str = ""


def examine(device: str = "auto") -> Iterator[Row]:
    """Look at everything, one row after the other. `device` is the one that a training step is tried on."""
    for group in (_versions, _devices, lambda: _step(device), _codecs, _weights, _room, _environment):
        yield from group()


# Versions


def _versions() -> Iterator[Row]:
    own = _installed(PACKAGE)
    yield Row("versions", PACKAGE, own or "not installed", *_if(not own, "note", "pip install . in its checkout"))
    yield Row("versions", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for wanted in sorted(_requirements(), key=lambda requirement: requirement.name):
        found = _installed(wanted.name)
        optional = wanted.marker is not None
        if found and wanted.specifier.contains(found, prereleases=True):
            yield Row("versions", wanted.name, found)
        elif found or not optional:
            remedy = f"pip install '{wanted.name}{wanted.specifier}'"
            yield Row("versions", wanted.name, f"{found or 'missing'}; {wanted.specifier} is needed", "broken", remedy)
    yield from _vision()


def _requirements() -> Iterator[Requirement]:
    """What the package itself needs, and for `i2i export`."""
    for text in (requires(PACKAGE) or []) if _installed(PACKAGE) else []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "export"}):
            yield requirement


def _installed(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None


def _vision() -> Iterator[Row]:
    """torch and torchvision that were not built for each other fail at the first touch."""
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        remedy = "install the two together: pip install --force-reinstall torch torchvision"
        yield Row("versions", "torch + torchvision", f"do not fit each other ({_short(error)})", "broken", remedy)


# Devices


def _devices() -> Iterator[Row]:
    threads, cores = torch.get_num_threads(), _cores()
    too_many = threads > cores
    name = f"{_processor()}, {cores} cores for this process, {threads} thread{'' if threads == 1 else 's'}"
    yield Row("devices", "cpu", name, *_if(too_many, "note", f"export OMP_NUM_THREADS={cores}: more only wait for each other"))
    yield Row("devices", "cpu bf16", *_bfloat16())
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)
    if not torch.cuda.device_count():
        remedy = "update the GPU's driver, or install a torch that is built for it"
        yield Row("devices", "cuda", _without_cuda(), *_if(bool(shutil.which("nvidia-smi")), "note", remedy))
    if sys.platform == "darwin":
        yield Row("devices", "mps", "usable" if torch.backends.mps.is_available() else "not usable")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _bfloat16() -> tuple[str]:
    if choose_precision("auto", torch.device("cpu")).name == "bf16":
        has = "AMX" if torch.cpu._is_amx_tile_supported() else "AVX512_BF16"
        return (f"fast: the processor has {has}, so that training takes it",)
    return ("slow: the processor has neither AVX512_BF16 nor AMX, so training takes float32",)


def _gpu(index: int) -> Row:
    about = torch.cuda.get_device_properties(index)
    try:
        free = f"{torch.cuda.mem_get_info(index)[0] / 1e9:.1f} of {about.total_memory / 1e9:.1f} GB free"
    except RuntimeError as error:
        remedy = "another process may hold it: nvidia-smi"
        return Row("devices", f"cuda:{index}", f"{about.name}: {_short(error)}", "broken", remedy)
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    reason = "bf16 fast" if fast else "bf16 emulated, so training takes float32"
    return Row("devices", f"cuda:{index}", f"{about.name}, {free}, compute {about.major}.{about.minor}, {reason}")


def _without_cuda() -> str:
    if torch.version.cuda is None:
        return "this torch is built without CUDA; training runs on the CPU"
    return f"torch is built for CUDA {torch.version.cuda}, but there is no GPU that it can use; training runs on the CPU"


# A training step


def _step(name: str) -> Iterator[Row]:
    """Whether the numbers come out right: a convolution learns for two steps, in float32 and as training would compute."""
    try:
        device = choose_device(name)
    except UserError as error:
        yield Row("step", name, error.message, "broken", error.hint or "")
        return
    reference = _learned(Precision("fp32", torch.device("cpu")))
    for precision in dict.fromkeys([Precision("fp32", device), choose_precision("auto", device)]):
        start = time.monotonic()
        try:
            learned = _learned(precision)
        except Exception as error:
            remedy = "another torch for this device, or --device cpu"
            yield Row("step", f"{device} {precision.name}", f"fails: {_short(error)}", "broken", remedy)
            continue
        off, took = abs(learned - reference), time.monotonic() - start
        sound = off < (0.02 if precision.name == "fp32" else 0.2) * max(abs(reference), 1e-3)
        value = f"{'right' if sound else 'wrong'}: a loss of {learned:.4f}, {reference:.4f} expected, in {took:.2f} s"
        remedy = f"compute otherwise: --precision {'fp32' if precision.name != 'fp32' else 'bf16'}, or --device cpu"
        yield Row("step", f"{device} {precision.name}", value, *_if(not sound, "broken", remedy))


def _learned(precision: Precision) -> float:
    """The loss of a small convolutional network after two steps of Adam."""
    draw = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * 0.1
    x, y = (torch.rand(2, 3, 32, 32, generator=draw).to(precision.device) for _ in range(2))
    network.to(precision.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=precision.device.type != "mps")
    loss = torch.zeros(())
    for _ in range(3):
        with precision.autocast():
            output = network(x)
        loss = (output.float() - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


# Codecs


def _codecs() -> Iterator[Row]:
    """Each kind of file is written and read again, in memory."""
    deep = ("uint8", "uint16", "float32")
    kinds = {".png": deep[:2], ".tif": deep, ".jpg": deep[:1], ".webp": deep[:1], ".bmp": deep[:1]}
    for suffix, dtypes in kinds.items():
        worked, failed = _tried({dtype: _round_trip(suffix, dtype) for dtype in dtypes})
        value = f"reads and writes {', '.join(worked)}" + (f"; not {failed}" if failed else "")
        remedy = "pip install --force-reinstall pillow opencv-python"
        yield Row("codecs", suffix[1:], value, *_if(bool(failed), "broken", remedy))
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    for suffix, kind in movies.MOVIES.items():
        _, failed = _tried({suffix: lambda kind=kind: kind.encode(frames, False, movies.USUAL)})  # type: ignore[misc]
        value = f"cannot be written: {failed}" if failed else "writes"
        remedy = "--interpolate has others; for this one: pip install --force-reinstall opencv-python"
        yield Row("codecs", suffix[1:], value, *_if(bool(failed), "note", remedy))


def _round_trip(suffix: str, dtype: str) -> Callable[[], None]:
    def trip() -> None:
        top = TOP[dtype]
        slope = np.linspace(0, top, 32 * 32 * 3).reshape(32, 32, 3).astype(dtype)
        back = images.read(images.encode(Picture(slope), suffix))
        lossless = suffix not in (".jpg", ".webp")
        if back.dtype != dtype or np.abs(back.array.astype(float) - slope).max() > (0 if lossless else top / 8):
            raise ImageError("what is read is not what was written")

    return trip


def _tried(ways: dict[str, Callable[[], object]]) -> tuple[list[str], str]:
    """Those that worked, and the others with their reasons."""
    worked, failed = [], []
    for name, way in ways.items():
        try:
            way()
            worked.append(name)
        except Exception as error:  # a codec that is missing raises nearly anything
            failed.append(f"{name} ({_short(error)})")
    return worked, ", ".join(failed)


# Weights of feature networks


def _weights() -> Iterator[Row]:
    for network in get_args(FeatureNetworkName):
        try:
            file = perceptual.weights_file(network, None)
        except UserError as error:
            own = os.environ.get("I2I_WEIGHTS")
            is_wrong = own and not Path(own).expanduser().exists()  # else nobody has asked for any
            yield Row("weights", network, error.message, "broken" if is_wrong else "note", error.hint or "")
            continue
        yield _about_weights(network, file)


def _about_weights(network: FeatureNetworkName, file: Path) -> Row:
    try:
        digest = sha256(file)
        perceptual.read_weights(network, file, perceptual.architecture(network).state_dict())
    except OSError as error:
        return Row("weights", network, f"cannot read '{file}': {error.strerror}", "broken", "check who owns it and its mode")
    except UserError as error:
        return Row("weights", network, error.message, "broken", error.hint or "")
    named = "as its name says" if file.stem.endswith(f"-{digest[:8]}") else "a name without a hash"
    return Row("weights", network, f"{file}, {file.stat().st_size / 1e6:.0f} MB, sha256 {digest[:16]}…, {named}")


# Room


def _room() -> Iterator[Row]:
    places = {"runs (here)": Path.cwd(), "data sets": home(), "temporary files": Path(tempfile.gettempdir())}
    for name, place in places.items():
        there = next((folder for folder in (place, *place.absolute().parents) if folder.exists()), Path.cwd())
        free = shutil.disk_usage(there).free
        writable = os.access(there, os.W_OK)
        value = f"{free / 1e9:.1f} GB free in {place}" + ("" if writable else ", which cannot be written to")
        if not writable:
            remedy = "go to another folder" if name.startswith("runs") else "export I2I_DATA=FOLDER, or TMPDIR=FOLDER"
            yield Row("room", name, value, "note" if name == "data sets" else "broken", remedy)
        else:
            yield Row("room", name, value, *_if(free < ROOM, "note", "free some space: a run keeps two checkpoints"))
    memory = free_memory()
    if memory:
        yield Row("room", "memory", f"{memory / 1e9:.1f} GB free", *_if(memory < MEMORY, "note", "--preset quick needs least"))


# Environment


def _environment() -> Iterator[Row]:
    for name, what in VARIABLES.items():
        if name in os.environ:
            yield Row("environment", name, f"{os.environ[name]!r}: {what}", *_misnamed(name))


def _misnamed(name: str) -> tuple[Severity, str]:
    value = os.environ[name]
    if name == "I2I_DATA" and Path(value).exists() and not Path(value).is_dir():
        return "broken", "it names a file: export I2I_DATA=FOLDER"
    if name == "I2I_MIRROR" and not re.match(r"(https?|file)://", value):
        return "broken", "it is no address: export I2I_MIRROR=https://…"
    return "ok", ""


def _if(wrong: bool, severity: Severity, remedy: str) -> tuple[Severity, str]:
    return (severity, remedy) if wrong else ("ok", "")


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
