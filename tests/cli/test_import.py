"""`i2i import`, and foreign files where the other commands take a model."""

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import models
from i2i.networks.coarse_to_fine import GlobalGenerator
from i2i.networks.resnet import ResNet


@pytest.fixture
def pth(tmp_path):
    torch.manual_seed(0)
    torch.save(ResNet(3, 3, width=2, blocks=1).state_dict(), tmp_path / "latest_net_G.pth")
    return tmp_path / "latest_net_G.pth"


def test_an_imported_model_translates_as_the_file_does(i2i, pth, tmp_path):
    done = i2i("import", pth, "-o", tmp_path / "model.safetensors")
    assert (done.status, done.out) == (0, f"{tmp_path}/model.safetensors\n")
    assert "model.generator.width=2  (model.1.weight is 2x3x7x7)" in done.err
    assert "assumed: the method is pix2pix" in done.err
    assert done.err.splitlines()[-1].endswith(f"i2i translate {tmp_path}/model.safetensors FOLDER -o OUT")
    x = torch.rand(1, 3, 16, 16)
    one, two = (
        models.open_model(path, torch.device("cpu")).method.translate(x) for path in (pth, tmp_path / "model.safetensors")
    )
    assert torch.equal(one, two)


def test_what_the_files_cannot_tell_can_be_set(i2i, tmp_path):
    torch.save(GlobalGenerator(6, 3, width=2, halvings=3, blocks=1).state_dict(), tmp_path / "g.pth")
    assert "label map of 5 classes, with instances" in i2i("import", tmp_path / "g.pth", "-o", tmp_path / "a.safetensors").err
    sets = ["--set", "data.x.instances=false", "--set", "data.x.channels=6"]
    done = i2i("import", tmp_path / "g.pth", "-o", tmp_path / "b.safetensors", *sets)
    assert "pix2pixhd: label map of 6 classes -> 8-bit colour" in done.err
    assert str(models.open_model(tmp_path / "b.safetensors", torch.device("cpu")).x) == "label map of 6 classes"


def test_settings_that_do_not_fit_the_file_are_refused_and_nothing_is_written(i2i, pth, tmp_path):
    done = i2i("import", pth, "-o", tmp_path / "a.safetensors", "--set", "model.generator.blocks=2")
    assert done.status == 2
    assert "do not fit" in done.err
    assert not (tmp_path / "a.safetensors").exists()


def test_a_file_is_never_replaced_and_the_name_must_be_right(i2i, pth, tmp_path):
    (tmp_path / "a.safetensors").write_text("mine")
    assert i2i("import", pth, "-o", tmp_path / "a.safetensors").status == 2
    assert (tmp_path / "a.safetensors").read_text() == "mine"
    assert "hint: -o model.safetensors" in i2i("import", pth, "-o", tmp_path / "model.pth").err


def test_what_is_no_foreign_model_is_refused(i2i, tmp_path):
    done = i2i("import", tmp_path, "-o", tmp_path / "a.safetensors")
    assert done.status == 2
    assert "there is no model of another program" in done.err


def test_a_pth_file_is_translated_with_directly(i2i, pth, tmp_path):
    Image.fromarray(np.zeros((13, 17, 3), np.uint8)).save(tmp_path / "in.png")
    assert i2i("translate", pth, tmp_path / "in.png", "-o", tmp_path / "out.png", "--device", "cpu").status == 0
    assert Image.open(tmp_path / "out.png").size == (17, 13)
