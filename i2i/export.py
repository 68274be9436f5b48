"""A generator as ONNX, for programs without torch: the graph, a page about how to use it, and a proof that it is the same."""

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i import atomic, runs
from i2i.errors import UserError
from i2i.images import ImageError
from i2i.items import Way, opened, ready
from i2i.models import Model
from i2i.networks.layers import BatchNorm2d, NormStats, image_norms
from i2i.translate import Direction, Translator

OPSET = 18  # the oldest that torch's exporter writes without converting, so the one that most programs can read
NOISE = 1e-3
"""What is more than this, in [-1, 1], is no rounding: an eighth of a level of 8 bits."""

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """The largest difference on one input: `largest` in [-1, 1], not a number where an output is none."""

    shape: tuple[int, ...]
    largest: float

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))}: {self.largest:.1e} in [-1, 1], {self.largest * 127.5:.5f} levels of 8 bits"


@dataclass(frozen=True)
class Bare:
    """The network of one direction, and what it takes: x with `beside` more channels, by name, and z numbers or none."""

    network: nn.Module
    way: Way
    beside: dict[str, int]
    z: int

    @property
    def channels(self) -> int:
        return self.way.x.channels + sum(self.beside.values())


def export(
    translator: Translator,
    out: Path,
    *,
    direction: Direction | None = None,
    files: Sequence[Path] = (),
    say: Callable[[str], None] = lambda text: None,
) -> list[Difference]:
    """Write `out` and, beside it, `out`.json with everything that is needed to use it. What stands there is replaced.

    ONNX Runtime then has to compute the same as torch, of random images of several sizes and of those in `files`. Raises
    UserError where it differs by more than rounding, and leaves nothing behind.
    """
    require()
    generator = bare(translator, direction)
    seen = [*_random(generator), *_of_files(generator, files)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(out) as scratch:
        _write(generator, scratch)
        found = []
        for inputs in seen:
            found.append(difference(scratch, generator, inputs))
            say(f"checked {found[-1]}")
            _require_noise(found[-1])
        page = described(generator, translator.model) | {"sha256": _sums(generator, scratch)}
        atomic.write_text(sidecar(out), json.dumps(page, indent=1) + "\n")
    return found


def sidecar(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def require() -> None:
    """Raise UserError where a package that only exporting needs is not installed."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"exporting needs {' and '.join(missing)}", "pip install 'i2i-toolbox[export]'")


def bare(translator: Translator, direction: Direction | None = None) -> Bare:
    """What `translate` runs in one direction, as a copy. The first of a method's generators goes forward, the second back."""
    way, model = translator.way(direction), translator.model
    network = copy.deepcopy(list(model.method.generators().values())[way.reverse]).cpu().eval()
    beside = {"boundaries": int(way.instances), "features": getattr(model.config.model, "features", 0)}
    return Bare(network, way, {name: n for name, n in beside.items() if n}, getattr(model.config.model, "z", 0))


def _write(generator: Bare, file: Path) -> None:
    """The sizes of the example are arbitrary, but no two alike: those of the graph are free."""
    small = generator.way.accepts.smallest
    example = _drawn(generator, 2, 3 * small, 4 * small, torch.Generator().manual_seed(0))
    sizes = {"x": {0: "N", 2: "H", 3: "W"}, "z": {0: "N"}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of axes, and what torch itself will change
        torch.onnx.export(
            generator.network,
            tuple(example.values()),
            file,
            input_names=list(example),
            output_names=["y"],
            dynamic_shapes=tuple(sizes[name] for name in example),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


# The check


def difference(file: Path, generator: Bare, inputs: Inputs) -> Difference:
    """Between what ONNX Runtime makes of the inputs with the file and what torch makes of them."""
    with torch.inference_mode():
        expected = generator.network(*inputs.values())
    (answer,) = _session(file).run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    shape = tuple(inputs["x"].shape)
    if answer.shape != expected.shape:
        return Difference(shape, math.inf)
    return Difference(shape, float((torch.from_numpy(answer) - expected).abs().max()))


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _require_noise(found: Difference) -> None:
    if not found.largest <= NOISE:  # so that what is not a number is refused too
        raise UserError(
            f"the exported network is not the same: {found}; nothing was written",
            "please report it, unless the image has a single colour: a norm then enlarges rounding errors without bound",
        )


def _random(generator: Bare) -> Iterator[Inputs]:
    """The smallest size, one that is not square, and a batch of two the other way round."""
    random, a = torch.Generator().manual_seed(1), generator.way.accepts
    usual = math.ceil(max(128, a.smallest) / a.stride) * a.stride
    for count, height, width in ((1, a.smallest, a.smallest), (1, usual, usual + a.stride), (2, usual + a.stride, a.smallest)):
        yield _drawn(generator, count, height, width, random)


def _of_files(generator: Bare, files: Sequence[Path]) -> Iterator[Inputs]:
    """What the files do not hold is drawn."""
    random = torch.Generator().manual_seed(1)
    for file in files:
        source = opened(file, generator.way.x)
        try:
            padded = ready(source, None, generator.way, [None]).padded
        except ImageError as error:
            raise UserError(f"'{file}': {error.message}", error.hint) from None
        x = padded.scale.to_float(torch.from_numpy(np.stack([padded.values])).movedim(-1, 1)).contiguous()
        yield _completed(generator, x, random)


def _drawn(generator: Bare, count: int, height: int, width: int, random: torch.Generator) -> Inputs:
    x, size = generator.way.x, (count, 1, height, width)
    if x.labels:
        return _completed(generator, x.to_float(torch.randint(x.channels, size, generator=random)), random)
    return _completed(generator, torch.rand(count, x.channels, height, width, generator=random) * 2 - 1, random)


def _completed(generator: Bare, x: Tensor, random: torch.Generator) -> Inputs:
    """x: (N, C, H, W) of the domain alone -> all inputs, with random boundaries in {0, 1}, features and z."""
    parts, (count, _, height, width) = [x], x.shape
    for name, channels in generator.beside.items():
        drawn = torch.rand(count, channels, height, width, generator=random)
        parts.append(drawn.round() if name == "boundaries" else drawn * 2 - 1)
    z = {"z": torch.randn(count, generator.z, generator=random)} if generator.z else {}
    return {"x": torch.cat(parts, 1), **z}


# The page beside it


def described(generator: Bare, model: Model) -> dict[str, Any]:
    """Everything that a program needs to know to do what `i2i translate` does, as plain values."""
    way, accepts, trained = generator.way, generator.way.accepts, model.config.data.direction
    other = {"AtoB": "BtoA", "BtoA": "AtoB"}[trained]
    z = {"z": {"shape": ["N", generator.z], "dtype": "float32", "typical": 0.0, "drawn_from": "N(0, 1)"}}
    return {
        "method": model.config.method,
        "model": model.name,
        "direction": other if way.reverse else trained,
        "opset": OPSET,
        "inputs": {"x": _described_x(generator, model), **(z if generator.z else {})},
        "outputs": {"y": _described_y(generator)},
        "size": {
            "stride": accepts.stride,
            "smallest": accepts.smallest,
            "pad": "each side to the next multiple of stride, and to smallest: mirrored at the borders without repeating the "
            "outermost pixels; half of it before, rounded down, and the rest behind",
            "crop": "y where the image was before it was padded",
        },
        "norm_statistics": _norm_statistics(generator.network),
        "dropout": "off",
        "made_with": {**runs.made_with(), **{name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}},
    }


def _described_x(generator: Bare, model: Model) -> dict[str, Any]:
    x = generator.way.x
    if x.labels:
        parts = [{"name": "classes", "channels": x.classes, "values": "1 in the channel of the pixel's class, else 0"}]
        parts += [{"name": "void", "channels": 1, "values": "1 where unlabelled, else 0"}] if x.unlabelled else []
    else:
        parts = [{"name": "image", "channels": x.channels, "values": f"(value - {x.low:g}) / {x.high - x.low:g} * 2 - 1"}]
    if "boundaries" in generator.beside:
        told = "1 where the pixel above, below, left or right has another instance id, else 0"
        parts.append({"name": "boundaries", "channels": 1, "values": told})
    if features := generator.beside.get("features"):
        told = "of each thing the same in all of its pixels: one of `kinds` of its label, of which the first is usual"
        parts.append({"name": "features", "channels": features, "values": told, "kinds": _kinds(model)})
    return {"shape": ["N", generator.channels, "H", "W"], "dtype": "float32", "channels": parts, "domain": x.model_dump()}


def _kinds(model: Model) -> list[list[list[float]]]:
    """For each label what its things are like, the most common first, as a pix2pixHD model remembers them."""
    memory, config = model.method.generators()["memory"], model.config.model
    return [kinds.tolist() for kinds in memory.kinds(config.clusters)]  # type: ignore[operator,attr-defined]


def _described_y(generator: Bare) -> dict[str, Any]:
    y, images = generator.way.y, getattr(generator.network, "images", None)
    value = f"(y clamped to [-1, 1] + 1) / 2 * {y.high - y.low:g} + {y.low:g}"
    return {
        "shape": ["N", *([images] if images else []), y.channels, "H", "W"],
        "dtype": "float32",
        "values": value if y.dtype == "float32" else f"{value}, rounded",
        "domain": y.model_dump(),
    }


def _norm_statistics(network: nn.Module) -> NormStats | None:
    if image_norms(network):
        return "image"
    return "running" if any(isinstance(layer, BatchNorm2d) for layer in network.modules()) else None


def _sums(generator: Bare, file: Path) -> dict[str, str]:
    """Of the file, and of the weights: the bytes of each in the order of their names."""
    weights = hashlib.sha256()
    for _, tensor in sorted(generator.network.state_dict().items()):
        weights.update(tensor.contiguous().numpy().tobytes())
    return {"onnx": hashlib.sha256(file.read_bytes()).hexdigest(), "weights": weights.hexdigest()}
