"""`i2i plan` as a person uses it: the settings on stdout or in a file, and `train` takes them."""

import json
from pathlib import Path

import pytest

from i2i import plan as planning
from i2i.measure import Cost


@pytest.fixture
def quickly(monkeypatch):
    """Nothing is measured."""
    monkeypatch.setattr(planning, "measure", lambda prepared, hopeless=0.0: Cost(0.5, 0.001, 10**9, 10**10))


def test_a_plan_is_a_config_that_trains(i2i, photos):
    done = i2i("plan", photos, "-o", "my.yaml", "--device", "cpu", "--budget", "20s")
    assert (done.status, done.out) == (0, "my.yaml\n")
    assert "pix2pix for " in done.err
    assert done.err.splitlines()[-1] == "next: i2i train pix2pix --config my.yaml"
    dry = i2i("train", "pix2pix", "--config", "my.yaml", "--dry-run")
    assert dry.status == 0
    assert "source: " + str(photos) in dry.out
    trained = i2i("train", "pix2pix", "--config", "my.yaml", "--data", photos, "--steps", "1", "--set", "train.samples=1")
    assert (trained.status, trained.out) == (0, "runs/pix2pix-photos-001/model.safetensors\n")


def test_without_a_file_the_settings_come_alone_on_stdout(i2i, photos, quickly):
    done = i2i("plan", photos)
    assert done.status == 0
    assert "\nmethod: pix2pix\n" in done.out
    assert done.out.startswith("# pix2pix for ")
    assert "trying pix2pix as in 'paper'" in done.err
    assert done.err.splitlines()[-1].startswith("next: i2i train pix2pix --config FILE")
    assert i2i("-q", "plan", photos).err == ""
    assert list(Path.cwd().iterdir()) == []


def test_a_plan_comes_as_json(i2i, photos, quickly):
    told = json.loads(i2i("plan", photos, "--method", "cyclegan", "--json").out)
    assert (told["method"], told["why"], told["facts"]["a"]["images"]) == ("cyclegan", "asked for", 3)
    assert told["settings"]["data.size"]["reason"]
    assert told["config"].startswith("# cyclegan for ")
    assert told["seconds"] > told["steps"] * 0.5


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["--method", "pix2pxi"], "there is no method 'pix2pxi'", "did you mean 'pix2pix'?"),
        (["--budget", "soon"], "a budget is a time such as 90m, 2h or 1d12h, not 'soon'", "--budget 2h"),
        (["--direction", "BA"], "--direction is AtoB or BtoA, not 'BA'", "--direction BtoA"),
        (["--device", "abacus"], "there is no device 'abacus' here", "--device cpu"),
        (["-o", "no/my.yaml"], "there is no folder 'no'", "make it"),
    ],
)
def test_mistakes_are_said_before_anything_is_looked_at(i2i, photos, words, error, hint):
    done = i2i("plan", photos, *words)
    assert done.status == 2
    assert f"error: {error}" in done.err
    assert f"hint: {hint}" in done.err
    assert "trying" not in done.err


def test_a_file_that_exists_is_not_overwritten(i2i, photos):
    Path("my.yaml").write_text("mine")
    done = i2i("plan", photos, "-o", "my.yaml")
    assert (done.status, Path("my.yaml").read_text()) == (2, "mine")


def test_an_empty_folder_has_no_plan(i2i, tmp_path):
    (tmp_path / "empty").mkdir()
    done = i2i("plan", tmp_path / "empty")
    assert done.status == 2
    assert "holds no layout that can be trained on" in done.err
    assert "hint: " in done.err
