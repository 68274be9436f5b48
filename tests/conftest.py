"""What all tests share: one thread, and the smallest method of each kind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from i2i.config import Layer
from i2i.domain import Domain
from i2i.method import Accepts, Batch, Method
from i2i.models import build, configure, method_class
from i2i.segmenter import VALUES
from i2i.training import checkpoint
from i2i.translate import Translator

torch.set_num_threads(1)

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
TRUE, OUTPUT = [[0, 0, 1, 1], [2, 2, 1, 1]], [[0, 1, 1, 1], [2, 2, 0, 1]]
"""Classes of what lies in the folders of `segmented`."""
SMALL_CYCLEGAN = {"generator": {"width": 2, "blocks": 1}, "discriminator": {"width": 2}, "lambda_identity": 0.0}
TINY = {
    "pix2pix": {"generator": {"depth": 3, "width": 4}, "discriminator": {"layers": 1, "width": 4}},
    "pix2pixhd": {
        "generator": {"width": 4, "halvings": 2, "blocks": 1},
        "discriminator": {"layers": 1, "width": 4},
        "encoder": {"width": 2, "halvings": 2},
        "lambda_perceptual": 0,
    },
    "cyclegan": {"generator": {"blocks": 1, "width": 4}, "discriminator": {"layers": 1, "width": 4}, "history": 3},
    "crn": {"modules": 3, "width": 1 / 256, "lambda_perceptual": 0, "lambda_l1": 1},
    "simgan": {"refiner": {"width": 4, "blocks": 1}, "refiner_first": 5, "discriminator_first": 3, "history": 6},
    "bicyclegan": {
        "z": 3,
        "generator": {"depth": 3, "width": 4},
        "encoder": {"blocks": 2, "width": 4},
        "discriminator": {"layers": 1, "width": 4},
        "initial": {"gain": 1.0},  # as published every answer would be next to nothing, and a wrong one too
    },
}


@pytest.fixture
def tiny() -> Callable[..., Method]:
    """`tiny("pix2pix", x_channels=1, gan="hinge", generator={...})`: a method with very small networks, seeded."""

    def build(name: str, *, x_channels: int = 3, y_channels: int = 3, seed: int = 0, **model: Any) -> Method:
        config = configure(name, [Layer("tiny", {"model": TINY[name]}), Layer("the test", {"model": model})])
        torch.manual_seed(seed)
        return method_class(name)(config.model, Domain.of(x_channels), Domain.of(y_channels))

    return build


@pytest.fixture
def pair() -> Callable[..., Batch]:
    """`pair(batch=2)`: an input and a target in [-1, 1], seeded, each (B, channels, 16, 16)."""

    def draw(*, batch: int = 1, x_channels: int = 3, y_channels: int = 3, size: int = 16, seed: int = 1):
        generator = torch.Generator().manual_seed(seed)
        return Batch(*(torch.rand(batch, c, size, size, generator=generator) * 2 - 1 for c in (x_channels, y_channels)))

    return draw


@pytest.fixture
def run_folder(tmp_path) -> Callable[..., Path]:
    """`run_folder("name", [line, ...], saved=(40,), train={...})`: what a run of pix2pix leaves, with these lines in its log
    and checkpoints of no weights at these steps. `state` is the trainer's, `seen` the data that the weights say they know."""

    def make(name: str, log: Sequence[dict] = (), saved: Sequence[int] = (), state=None, seen=None, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump({"method": "pix2pix", **config}))
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in log))
        about = {"data": {"x": 20, "y": 30, "names": "n"} if seen is None else seen}
        for step in saved:
            place = folder / "checkpoints" / f"step-{step:09d}"
            place.mkdir(parents=True)
            checkpoint.export(place / checkpoint.MODEL, {}, about)
            torch.save(
                state or {"step": step, "ranks": 1, "seconds": step / 2, "rng": torch.ones(2)}, place / checkpoint.TRAINER
            )
        return folder

    return make


@pytest.fixture(scope="session")
def saved() -> Callable[..., Path]:
    """`saved(path, "pix2pix", {"z": 4}, x={...})`: a file with untrained generators; from colour to colour, unless x or y say
    otherwise, and those of a very small CycleGAN where nothing else is asked for."""

    def save(
        path: Path, method: str = "cyclegan", model: dict | None = None, *, x: dict | None = None, y: dict | None = None
    ) -> Path:
        data = {"x": {"channels": 3, **(x or {})}, "y": {"channels": 3, **(y or {})}}
        config = configure(method, [Layer("the test", {"model": SMALL_CYCLEGAN if model is None else model, "data": data})])
        checkpoint.export(path, build(config).generator_weights(), {"config": config.tree(), "made_with": {}})
        return path

    return save


@pytest.fixture(scope="session")
def colour_model(saved, tmp_path_factory) -> Path:
    """A file with the untrained generators of a very small CycleGAN, from colour to colour."""
    return saved(tmp_path_factory.mktemp("model") / "same.safetensors")


@pytest.fixture
def same(colour_model, tmp_path, monkeypatch) -> Translator:
    """A model that returns its input, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    translator = Translator.open(colour_model, "cpu")
    translator.model.method.translate = lambda x, **_: x
    translator.model.method.accepts = lambda **_: Accepts(4, 8, 20)
    return translator


@pytest.fixture
def network(tmp_path) -> Callable[..., Path]:
    """`network(of="0..1", ids=True)`: a file of ONNX that tells which of `colours` is nearest, where 2 c x - |c|^2 is largest.

    `of` are the values of its input, `shape` and `kind` what it says of that. Skips the test where there is no onnx.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def make(of="0..255", shape=(1, 3, "H", "W"), kind=TensorProto.FLOAT, ids=False, colours=COLOURS) -> Path:
        shift, scale = (np.broadcast_to(np.float32(part), (3,)) for part in VALUES[of])
        centres = ((np.array(colours) - shift) / scale).astype(np.float32)
        weights = {"w": 2 * centres[:, :, None, None], "b": -(centres**2).sum(1)}
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["logits"])]
        nodes += [helper.make_node("ArgMax", ["logits"], ["ids"], axis=1, keepdims=0)] if ids else []
        told = (
            ("ids", TensorProto.INT64, [1, None, None]) if ids else ("logits", TensorProto.FLOAT, [1, len(colours), None, None])
        )
        x, y = helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info(*told)
        stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 9  # onnxruntime is behind onnx
        onnx.save(model, tmp_path / "n.onnx")
        return tmp_path / "n.onnx"

    return make


@pytest.fixture
def segmented(tmp_path, monkeypatch, network) -> Path:
    """out/, real/ and ids/ in the working folder, with one image of two by four pixels each, and a network."""
    monkeypatch.chdir(tmp_path)
    for name, array in (("out", np.array(COLOURS)[OUTPUT]), ("real", np.array(COLOURS)[TRUE]), ("ids", np.array(TRUE))):
        (tmp_path / name).mkdir()
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / name / "a.png")
    return network()


@pytest.fixture
def recording() -> type:
    """`recording()`: an update for `step` that only writes down who plays and what is paid."""
    return Recording


CODECS = {".avi": "FFV1", ".mkv": "FFV1", ".mp4": "mp4v", ".mov": "mp4v", ".webm": "VP80"}
"""One for each container that can be read; the first two keep every value."""


@pytest.fixture
def film() -> Callable[..., Path]:
    """`film(path, frames, rate=12.5)`: a video of frames (H, W, 3) in RGB. Skips the test where OpenCV lacks the codec."""

    def write(path: Path, frames: Sequence[np.ndarray], rate: float = 12.5) -> Path:
        codec, (height, width) = CODECS[path.suffix], frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (width, height))
        if not writer.isOpened():
            pytest.skip(f"this OpenCV has no codec {codec}")
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        return path

    return write


class Recording:
    """Changes nothing; `calls` are players and names in their order, `losses` the values as "player/name"."""

    def __init__(self, step: int = 0, epoch: float = 0.0) -> None:
        self.step, self.epoch = step, epoch
        self.calls: list[tuple[tuple[str, ...], list[str]]] = []
        self.losses: dict[str, Tensor] = {}

    def __call__(self, *players: str, **losses: Tensor) -> None:
        self.calls.append((players, list(losses)))
        self.losses |= {f"{players[0]}/{name}": loss for name, loss in losses.items()}
