"""Exported generators compute what torch computes, at any size; and the page beside them says how to use them."""

import copy
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from i2i import atomic, export
from i2i.config import Layer
from i2i.errors import UserError
from i2i.images import Picture
from i2i.models import Model, build, configure
from i2i.translate import Translator

WHY = "exporting needs onnx, onnxscript and onnxruntime: pip install 'i2i-toolbox[export]'"
_, _, onnxruntime = (pytest.importorskip(package, reason=WHY) for package in ("onnx", "onnxscript", "onnxruntime"))

PHOTO = {"channels": 3}
LABELS = {"channels": 4, "labels": True, "void": (255,)}
UNET = {"depth": 2, "width": 2}
HD = {"generator": {"width": 2, "halvings": 1, "blocks": 1, "local_blocks": 1}, "encoder": {"width": 2, "halvings": 1}}
TINY = {
    "pix2pix": ("pix2pix", {"generator": UNET}, PHOTO),
    "pix2pix-instance": ("pix2pix", {"generator": UNET | {"norm": "instance", "upsample": "resize"}}, PHOTO),
    "pix2pix-noise": ("pix2pix", {"generator": UNET, "z": 2}, PHOTO),
    "cyclegan": ("cyclegan", {"generator": {"blocks": 1, "width": 2}}, PHOTO),
    "bicyclegan": ("bicyclegan", {"generator": UNET, "encoder": {"blocks": 2, "width": 2}, "z": 3}, PHOTO),
    "simgan": ("simgan", {"refiner": {"blocks": 1, "width": 2}}, PHOTO),
    "crn": ("crn", {"modules": 2, "width": 1 / 256, "images": 2}, LABELS),
    "global": ("pix2pixhd", HD | {"features": 2}, LABELS | {"instances": True}),
    "local": ("pix2pixhd", HD | {"generator": HD["generator"] | {"enhancers": 1}}, LABELS),
}
EXPORTED = ["pix2pix", "pix2pix-instance", "cyclegan", "bicyclegan", "simgan", "crn", "global", "local"]


@cache
def translator(name: str) -> Translator:
    """The smallest model of a kind, with weights so large that its images are not all the same."""
    method, settings, x = TINY[name]
    config = configure(method, [Layer("tiny", {"model": settings, "data": {"x": x, "y": PHOTO}})])
    model = Model(build(config).eval(), config, name)
    random = torch.Generator().manual_seed(0)
    for network in model.method.generators().values():
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.3, generator=random)
    if name == "pix2pix":
        model.method.train().G(torch.rand(2, 3, 8, 8, generator=random))  # batch norm gathers statistics
        model.method.eval()
    return Translator(model, torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`exported("simgan")`: the file, and what its check has found. Each is made once, since that takes seconds."""

    @cache
    def make(name: str) -> tuple[Path, list[export.Difference]]:
        out = tmp_path_factory.mktemp(name) / "model.onnx"
        return out, export.export(translator(name), out)

    return make


@pytest.fixture
def simgan(exported) -> Path:
    return exported("simgan")[0]


def page_of(file: Path) -> dict:
    return json.loads(export.sidecar(file).read_text())


def run(file: Path, **inputs: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(onnxruntime.InferenceSession(file).run(None, {k: v.numpy() for k, v in inputs.items()})[0])


@pytest.mark.parametrize("name", EXPORTED)
def test_every_network_is_the_same_at_sizes_that_the_export_has_not_seen(name, exported):
    (out, found), generator = exported(name), export.bare(translator(name))
    assert len(found) == 3
    assert max(difference.largest for difference in found) < 1e-4
    side = generator.way.accepts.smallest + 2 * generator.way.accepts.stride
    inputs = export._drawn(generator, 3, side, 3 * side, torch.Generator().manual_seed(9))
    assert export.difference(out, generator, inputs).largest < 1e-4
    expected = generator.network(*inputs.values())
    assert expected.std() > 0.01
    shapes = [page_of(out)["inputs"]["x"]["shape"], page_of(out)["outputs"]["y"]["shape"]]
    values = {"N": 3, "H": side, "W": 3 * side}
    assert [[values.get(n, n) for n in shape] for shape in shapes] == [list(inputs["x"].shape), list(expected.shape)]


@pytest.mark.parametrize("name", ["pix2pix", "pix2pix-noise", "cyclegan", "bicyclegan", "simgan", "crn", "local"])
def test_the_bare_network_is_what_translates(name):
    method, generator = translator(name).model.method, export.bare(translator(name))
    side = generator.way.accepts.smallest
    inputs = export._drawn(generator, 1, side, 2 * side, torch.Generator().manual_seed(1))
    y = generator.network(*inputs.values()).clamp(-1, 1)
    y = y[:, 0] if y.ndim == 5 else y
    assert torch.equal(y, method.translate(inputs["x"], style=inputs["z"][0] if "z" in inputs else None))


def test_the_other_direction_is_the_other_generator():
    method = translator("cyclegan").model.method
    generator = export.bare(translator("cyclegan"), "BtoA")
    x = torch.rand(1, 3, 8, 12) * 2 - 1
    assert torch.equal(generator.network(x), method.translate(x, reverse=True))
    assert not torch.equal(generator.network(x), method.translate(x))
    assert export.described(generator, translator("cyclegan").model)["direction"] == "BtoA"


def test_boundaries_and_features_follow_the_classes_as_pix2pixhd_has_them():
    method, generator = translator("global").model.method, export.bare(translator("global"))
    labels, ids = torch.randint(4, (1, 1, 8, 8)), torch.randint(3, (1, 1, 8, 8))
    x = generator.way.x.to_float(labels)
    page = export.described(generator, translator("global").model)["inputs"]["x"]
    assert [(part["name"], part["channels"]) for part in page["channels"]] == [
        ("classes", 3), ("void", 1), ("boundaries", 1), ("features", 2),
    ]  # fmt: skip
    kinds = torch.tensor([kinds[0] for kinds in page["channels"][-1]["kinds"]])
    features = kinds[labels[:, 0]].movedim(-1, 1)
    other = torch.zeros(1, 1, 10, 10) - 1
    other[..., 1:-1, 1:-1] = ids
    around = [other[..., :-2, 1:-1], other[..., 2:, 1:-1], other[..., 1:-1, :-2], other[..., 1:-1, 2:]]
    boundaries = torch.stack([(one >= 0) & (one != ids) for one in around]).any(0).float()
    y = generator.network(torch.cat([x, boundaries, features], 1))
    assert torch.equal(y, method.translate(x, instances=ids))


def test_the_statistics_of_batch_norm_can_be_those_of_the_training(tmp_path):
    pix2pix = translator("pix2pix")
    model = copy.deepcopy(pix2pix.model)
    generator = export.bare(Translator(model, torch.device("cpu"), "fp32", norm_stats="running"))
    assert export.described(generator, pix2pix.model)["norm_statistics"] == "running"
    export._write(generator, tmp_path / "model.onnx")
    x = torch.rand(1, 3, 4, 8)
    assert (run(tmp_path / "model.onnx", x=x) - generator.network(x)).abs().max() < 1e-5
    assert (generator.network(x) - pix2pix.model.method.translate(x)).abs().max() > 1e-3


def test_the_page_is_enough_to_translate_an_image_as_i2i_does(exported):
    """Following the words of the page alone, with an image of an odd size."""
    out, _ = exported("cyclegan")
    page = page_of(out)
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    stride, smallest = page["size"]["stride"], page["size"]["smallest"]
    extra = [max(-(-side // stride) * stride, smallest) - side for side in image.shape[:2]]
    before = [e // 2 for e in extra]
    padded = np.pad(image, [*((b, e - b) for b, e in zip(before, extra, strict=True)), (0, 0)], "reflect")
    low, high = (page["inputs"]["x"]["domain"][end] for end in ("low", "high"))
    x = ((padded.astype(np.float32) - low) / (high - low) * 2 - 1).transpose(2, 0, 1)[None]
    y = run(out, x=torch.from_numpy(x))[0].clamp(-1, 1).numpy().transpose(1, 2, 0)
    y = np.rint((y + 1) / 2 * 255)[before[0] :, before[1] :][:9, :14]
    assert np.abs(y - translator("cyclegan").translate(image).array).max() <= 1


def test_the_sums_are_those_of_the_file_and_of_the_weights(simgan):
    page = page_of(simgan)
    assert page["sha256"]["onnx"] == hashlib.sha256(simgan.read_bytes()).hexdigest()
    weights = hashlib.sha256()
    for _, tensor in sorted(translator("simgan").model.method.R.state_dict().items()):
        weights.update(tensor.numpy().tobytes())
    assert page["sha256"]["weights"] == weights.hexdigest()
    assert page["opset"] == export.OPSET
    assert {"torch", "onnx", "onnxscript", "onnxruntime", "i2i-toolbox"} <= page["made_with"].keys()


def test_a_graph_that_is_not_the_same_is_refused_and_nothing_is_left(simgan, tmp_path, monkeypatch):
    """The graph of one model, under the name of another."""
    monkeypatch.setattr(export, "_write", lambda generator, file: file.write_bytes(simgan.read_bytes()))
    other = translator("simgan")
    generator = export.bare(other)
    with torch.no_grad():
        generator.network.last.bias += 0.01
    monkeypatch.setattr(export, "bare", lambda *given: generator)
    with pytest.raises(UserError, match="not the same: 1x3x1x1") as refused:
        export.export(other, tmp_path / "model.onnx")
    assert refused.value.status == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [lambda y: y + 0.002, lambda y: y * float("nan"), lambda y: y[..., :-1]])
def test_the_check_sees_small_steps_values_that_are_none_and_other_shapes(simgan, wrong):
    generator = export.bare(translator("simgan"))
    inputs = export._drawn(generator, 1, 8, 8, torch.Generator().manual_seed(0))
    export._require_noise(export.difference(simgan, generator, inputs))
    generator.network.register_forward_hook(lambda network, given, y: wrong(y))
    with pytest.raises(UserError, match="not the same"):
        export._require_noise(export.difference(simgan, generator, inputs))


def test_the_check_can_use_files(simgan, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_write", lambda generator, file: file.write_bytes(simgan.read_bytes()))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 7, 3), np.uint8)).save(tmp_path / "a.png")
    *_, found = export.export(translator("simgan"), tmp_path / "model.onnx", files=[tmp_path / "a.png"])
    assert found.shape == (1, 3, 11, 7)
    Picture(np.zeros((4, 4, 3), np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(UserError, match=r"b\.tif': the image has float values"):
        export.export(translator("simgan"), tmp_path / "other.onnx", files=[tmp_path / "b.tif"])
    assert not (tmp_path / "other.onnx").exists()
    assert not list(tmp_path.glob(f"{atomic.MARK}*"))


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UserError, match="exporting needs onnxruntime") as refused:
        export.require()
    assert refused.value.hint == "pip install 'i2i-toolbox[export]'"
