"""`i2i export`: what a person sees."""

import json

import pytest
import torch

from i2i import export
from i2i.networks.unet import UNet


@pytest.fixture
def pth(tmp_path):
    torch.manual_seed(0)
    network = UNet(3, 3, depth=2, width=2)
    network(torch.rand(2, 3, 8, 8))  # in training, so that batch norm gathers statistics
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    return tmp_path / "latest_net_G.pth"


def test_a_model_is_exported_checked_and_described(i2i, pth, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"exporting needs {package}: pip install 'i2i-toolbox[export]'")
    done = i2i("export", pth, "-o", tmp_path / "new" / "model.onnx", "--norm-stats", "running")
    assert (done.status, done.out) == (0, f"{tmp_path}/new/model.onnx\n")
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("checked")] == [
        "checked 1x3x4x4", "checked 1x3x128x132", "checked 2x3x132x4",
    ]  # fmt: skip
    assert "levels of 8 bits" in lines[-2]
    assert lines[-1] == f"how to use it: {tmp_path}/new/model.onnx.json"
    page = json.loads((tmp_path / "new" / "model.onnx.json").read_text())
    assert (page["method"], page["norm_statistics"], page["size"]["stride"]) == ("pix2pix", "running", 4)


@pytest.mark.parametrize(
    ("out", "more", "words"),
    [
        ("model.pt", [], "hint: -o model.onnx"),
        ("there.onnx", [], "there.onnx' exists"),
        ("page.onnx", [], "page.onnx.json' exists"),
        ("model.onnx", ["--direction", "BtoA"], "AtoB only"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(i2i, pth, tmp_path, monkeypatch, out, more, words):
    monkeypatch.setattr(export, "require", lambda: None)
    for name in ("there.onnx", "page.onnx.json"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.iterdir())
    done = i2i("export", pth, "-o", tmp_path / out, *more)
    assert done.status == 2
    assert words in done.err
    assert sorted(tmp_path.iterdir()) == before


def test_without_the_extra_it_says_what_to_install(i2i, pth, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    done = i2i("export", pth, "-o", tmp_path / "model.onnx")
    assert done.status == 2
    assert "hint: pip install 'i2i-toolbox[export]'" in done.err
