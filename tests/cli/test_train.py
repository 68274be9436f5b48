"""`i2i train` and `i2i resume` as a person uses them."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from i2i.training import checkpoint


@pytest.fixture
def train(i2i, photos, small):
    """`train("--steps", 3)`: a small pix2pix on the photos."""
    return lambda *words: i2i("train", "pix2pix", "--config", small, "--data", photos, *words)


def weights(run):
    return checkpoint.load(checkpoint.latest(Path(run)))[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_ends_with_the_model_on_stdout_and_the_next_command(train):
    done = train()
    assert done.status == 0
    assert done.out == "runs/pix2pix-photos-001/model.safetensors\n"
    assert "side by side" in done.err
    assert "training runs/pix2pix-photos-001 on cpu in fp32" in done.err
    assert done.err.splitlines()[-1].startswith("next: i2i translate runs/pix2pix-photos-001 ")
    assert train().out == "runs/pix2pix-photos-002/model.safetensors\n"


def test_quiet_training_prints_only_the_model(i2i, photos, small):
    done = i2i("-q", "train", "pix2pix", "--config", small, "--data", photos)
    assert done == (0, "runs/pix2pix-photos-001/model.safetensors\n", "")


def test_a_dry_run_shows_settings_data_and_networks_and_writes_nothing(train, photos):
    done = train("--dry-run", "--preset", "quick", "--steps", "9", "--set", "train.lr=1e-3")
    shown = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "steps: 9 # --steps" in shown
    assert "lr: 0.001 # --set" in shown
    assert "size: 16 # '" + str(photos.parent / "small.yaml") + "'" in shown
    assert "log_every: 1 # '" + str(photos.parent / "small.yaml") + "'" in shown
    assert any(line.endswith("# preset 'quick'") for line in shown)
    assert "save_minutes: 15.0 # default" in shown
    assert any(line.startswith("# player G: G, UNet, ") and line.endswith(" parameters") for line in shown)
    assert "x: 3 images, 8-bit colour" in done.err
    assert "nothing was written" in done.err
    assert list(Path.cwd().iterdir()) == []


def test_the_saved_config_trains_the_same_run_again(train, i2i):
    train("--seed", "3")
    i2i("train", "pix2pix", "--config", "runs/pix2pix-photos-001/config.yaml", "--out", "again")
    assert same(weights("again"), weights("runs/pix2pix-photos-001"))
    configs = [yaml.safe_load(Path(f, "config.yaml").read_text()) for f in ("again", "runs/pix2pix-photos-001")]
    sources = [config["made_with"].pop("sources") for config in configs]
    assert configs[0] == configs[1]
    assert [source["train.seed"] for source in sources] == ["'runs/pix2pix-photos-001/config.yaml'", "--seed"]


def test_the_config_of_another_method_is_refused(i2i, small, photos):
    done = i2i("train", "cyclegan", "--config", small, "--data", photos)
    assert done.status == 2
    assert "is for the method 'pix2pix', not 'cyclegan'" in done.err


def test_seeds_decide_the_run(train):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("--out", out, "--seed", seed)
    assert same(weights("a"), weights("b"))
    assert not same(weights("a"), weights("c"))


@pytest.mark.parametrize("given", ["photos", "photos/", "./photos", "photos/."])
def test_a_run_is_called_after_its_folder_however_that_is_written(i2i, photos, small, monkeypatch, given):
    monkeypatch.chdir(photos.parent)
    assert i2i("train", "pix2pix", "--config", small, "--data", given).out == "runs/pix2pix-photos-001/model.safetensors\n"


def test_two_folders_can_be_joined(i2i, photos, small):
    other = photos.parent / "other"
    other.mkdir()
    for image in (photos / "train").iterdir():
        (other / image.name).write_bytes(image.read_bytes())
    done = i2i("train", "pix2pix", "--config", small, "--data", f"{photos / 'train'},{other}")
    assert done.out == "runs/pix2pix-train-001/model.safetensors\n"


def test_a_folder_that_holds_something_is_not_overwritten(train, photos):
    done = train("--out", photos)
    assert done.status == 2
    assert f"error: '{photos}' is not empty" in done.err


def test_where_no_run_can_be_written_it_is_said(train):
    Path("runs").write_text("a file of that name")
    done = train()
    assert done.status == 2
    assert done.err.splitlines()[-2].startswith("error: cannot use 'runs")
    assert "Traceback" not in done.err


def test_a_run_can_start_from_the_weights_of_another(train):
    train("--out", "first")
    done = train("--init-from", "first", "--out", "second")
    assert done.status == 0
    assert "starting from 'first'; fresh: D" in done.err
    assert Path("second/start.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [(["--set", "model.generator.width=3"], "in the new run"), (["--init-from", "nowhere"], "there is no model in 'nowhere'")],
)
def test_weights_that_do_not_fit_are_said_before_a_folder_is_made(train, words, error):
    train("--out", "first")
    done = train("--init-from", "first", *words)
    assert done.status == 2
    assert error in done.err
    assert not Path("runs").exists()


def test_a_diverged_run_ends_with_5_and_says_what_was_kept(train, i2i):
    train("--out", "run")
    file = Path("run/config.yaml")
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 9\n").replace("lr: 0.0002", "lr: 1e30"))
    done = i2i("resume", "run")
    assert done.status == 5
    assert done.out == ""
    assert "error: training diverged around step" in done.err
    assert "is the last good checkpoint" in done.err
    assert "hint: lower train.lr" in done.err


def test_resume_goes_on_without_an_option(train, i2i):
    train("--out", "run")
    file = Path("run/config.yaml")
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 3\n"))
    done = i2i("resume", "run")
    assert done.status == 0
    assert done.out == "run/model.safetensors\n"
    assert [json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_resuming_a_finished_run_is_no_error(train, i2i):
    train("--out", "run")
    done = i2i("resume", "run")
    assert done.status == 0
    assert "'run' is trained to its end: there is nothing to do" in done.err


def test_a_damaged_image_is_found_before_training_and_not_looked_for_again_by_resume(train, i2i, photos):
    train("--out", "run")
    image = photos / "train" / "1.png"
    image.write_bytes(image.read_bytes()[:500])
    done = train()
    assert done.status == 2
    assert "error: 1 file cannot be read" in done.err
    assert f"such as '{image}'" in done.err
    assert done.err.splitlines()[-1].endswith(f"i2i data check {photos} shows all")
    assert not Path("runs").exists()
    assert i2i("resume", "run").status == 0


def test_a_damaged_checkpoint_is_named_with_what_to_do(train, i2i):
    train("--out", "run")
    file = Path("run/config.yaml")
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 3\n"))
    Path("run/checkpoints/step-000000002/trainer.pt").write_bytes(b"damaged")
    done = i2i("resume", "run")
    assert done.status == 2
    assert done.err.splitlines()[-2].startswith("error: cannot read the checkpoint 'run/checkpoints/step-000000002/trainer.pt'")
    assert done.err.splitlines()[-1] == "hint: remove 'run/checkpoints/step-000000002' to go on from the checkpoint before it"


def test_the_other_processes_of_a_run_are_silent(train, monkeypatch):
    monkeypatch.setattr("i2i.training.ranks.join", sys.modules["i2i.training.ranks"].Ranks)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert train("--dry-run").err == ""
