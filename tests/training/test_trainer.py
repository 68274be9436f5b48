"""The loop: what it writes when, and what it keeps when something goes wrong."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import kills
import pytest
import torch

from i2i import atomic, models, runs
from i2i.errors import Diverged, OutOfResources, UserError
from i2i.methods.pix2pix import Pix2Pix
from i2i.training import checkpoint
from i2i.training.folder import checkpoints, log
from i2i.training.health import Ailment


def contents(folder):
    return {f.relative_to(folder): hashlib.sha256(f.read_bytes()).digest() for f in folder.rglob("*") if f.is_file()}


def test_a_run_writes_its_log_sheets_checkpoints_and_model(new_run, trainer_of):
    run = new_run("cyclegan", "run", "train.sample_every=4", "train.keep=2")
    trainer_of(run).run()
    assert sorted(f.name for f in run.iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "metrics.jsonl", "model.safetensors", "samples", "tensorboard",
    ]  # fmt: skip
    assert sorted(f.name for f in (run / "samples").iterdir()) == [f"step-{step:09d}.png" for step in (0, 4, 6)]
    assert [f.name for f in checkpoints(run)] == ["step-000000004", "step-000000006"]
    rows = log(run)
    assert [(row["step"], row["steps"], row["epoch"]) for row in rows] == [(3, 6, 0.6), (6, 6, 1.2)]
    assert {"G/gan_x", "G/gan_y", "D/real_x", "lr/G", "lr/D", "seconds"} <= rows[0].keys()


def test_the_model_for_translation_holds_the_average_of_the_generators_only(new_run, trainer_of):
    run = new_run("pix2pix")
    trainer = trainer_of(run)
    trainer.run()
    weights, about = checkpoint.load_weights(run / "model.safetensors")
    assert {name.partition(".")[0] for name in weights} == {"G"}
    assert all(torch.equal(weights[name], tensor) for name, tensor in trainer.average.shadow.items())
    assert about["config"]["method"] == "pix2pix"
    assert about["data"]["x"] == 5


def test_a_run_in_epochs_is_as_long_as_its_data_says(new_run, trainer_of):
    run = new_run("pix2pix", "run", "train.steps=null", "train.epochs=3", "train.batch=2")
    assert trainer_of(run).stage.total == 8  # 3 times 5 images in batches of 2, the last step begun


def test_what_a_killed_process_left_half_written_is_swept_at_the_next_start(new_run, trainer_of):
    run = new_run("pix2pix", steps=1)
    left = [
        run / f"{atomic.MARK}{atomic.HOST}-999999999-aa.safetensors",
        run / "checkpoints" / f"{atomic.MARK}{atomic.HOST}-999999999-bb",
        run / "samples" / f"{atomic.MARK}{atomic.HOST}-999999999-cc.png",
    ]
    left[1].mkdir(parents=True)
    left[2].parent.mkdir()
    left[0].touch()
    left[2].touch()
    trainer_of(run).run()
    assert not any(path.exists() for path in left)


# What a method has to say


def test_what_ails_a_run_is_looked_for_with_every_sheet_and_validation_and_said_once(new_run, trainer_of, watch, monkeypatch):
    settings = ["train.log_every=1", "train.sample_every=2", *kills.validated("pix2pix", every=3)]
    run, watcher, looked = new_run("pix2pix", "run", *settings), watch(), []

    def examine(rows, config):
        looked.append(rows[-1]["step"])
        return [Ailment("G only copies", f"at step {looked[-1]}", "another seed")]

    monkeypatch.setattr("i2i.training.trainer.examine", examine)
    trainer_of(run, watcher=watcher).run()
    assert [text for text in watcher.said if "warning" in text] == ["warning: G only copies: at step 2; another seed"]
    assert looked == [2, 3, 4, 6, 6]


def test_a_step_is_told_how_many_steps_and_epochs_were_done(new_run, trainer_of, monkeypatch):
    run, clock, real = new_run("pix2pix", steps=4), [], Pix2Pix.step

    def step(self, batch, update):
        clock.append((update.step, update.epoch))
        return real(self, batch, update)

    monkeypatch.setattr(Pix2Pix, "step", step)
    trainer_of(run).run()
    assert clock == [(0, 0.0), (1, 0.2), (2, 0.4), (3, 0.6)]


# Losses and weights that are not finite


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rate_that_is_far_too_high_ends_as_divergence(new_run, trainer_of, precision):
    run = new_run("pix2pix", "run", "train.lr=1e30", f"train.precision={precision}")
    with pytest.raises(Diverged, match=r"training diverged around step \d: the loss (G|D)/\w+ is (nan|inf); ") as error:
        trainer_of(run).run()
    assert error.value.status == 5
    assert f"i2i resume {run}" in error.value.hint


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint_and_the_run_can_go_on(new_run, trainer_of, monkeypatch):
    run, alone = new_run("pix2pix", "run"), new_run("pix2pix", "alone")
    trainer_of(alone).run()
    trainer = trainer_of(run)
    real = Pix2Pix.step

    def step(self, batch, update):
        return real(self, batch._replace(y=batch.y * float("nan")) if trainer.step == 4 else batch, update)

    with monkeypatch.context() as patched:
        patched.setattr(Pix2Pix, "step", step)
        with pytest.raises(
            Diverged, match=r"around step 5: the loss D/real is nan; '.*step-000000004' is the last good checkpoint"
        ):
            trainer.run()
    trainer_of(run).run()
    assert kills.differing_bytes(run, alone) == {}


def test_a_weight_that_is_not_finite_is_never_saved(new_run, trainer_of, watch):
    run = new_run("cyclegan")
    trainer = trainer_of(run)

    def spoil(done):
        if done == 4:
            next(iter(trainer.method.parameters())).data[0, 0, 0, 0] = float("inf")

    trainer.watcher = watch(spoil)
    with pytest.raises(Diverged, match=r"the weight G.* is not finite; '.*step-000000002' is the last good checkpoint"):
        trainer.run()
    assert checkpoint.latest(run).name == "step-000000002"


def test_before_the_first_checkpoint_the_message_says_that_there_is_none(new_run, trainer_of):
    run = new_run("pix2pix", "run", "train.lr=1e30", "train.save_every=100")
    with pytest.raises(Diverged, match="no checkpoint was written yet"):
        trainer_of(run).run()
    assert not (run / "model.safetensors").exists()


# A full disk


def test_a_file_size_limit_during_a_save_keeps_the_checkpoint_before_it(new_run, trainer_of, i2i):
    run = new_run("pix2pix", steps=2)
    trainer_of(run).run()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2\n", "steps: 4\n"))
    last = checkpoint.latest(run)
    before = contents(last)
    done = i2i("resume", run, before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))")
    assert done.returncode == 6, done.stderr
    assert f"error: cannot write '{run}/" in done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(checkpoint.latest(run)) == before
    assert not list(run.rglob(".i2i-tmp-*"))
    trainer_of(run).run()


@pytest.mark.parametrize(
    "name", ["step-000000000.png", "metrics.jsonl", "events.out.tfevents", "model.safetensors", "trainer.pt"]
)
def test_a_full_disk_is_out_of_resources_wherever_it_strikes(new_run, trainer_of, monkeypatch, name):
    run = new_run("pix2pix", "run", "train.log_every=1")
    struck = []

    def refusing(real):
        def refuse(path, *more, **options):
            if any(name in str(word) for word in (path, *more)):
                struck.append(path)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, *more, **options)

        return refuse

    for owner, function in ((Path, "open"), (Path, "write_bytes"), (os, "replace")):
        monkeypatch.setattr(owner, function, refusing(getattr(owner, function)))
    with pytest.raises(OutOfResources, match=r"cannot write '.*' ?.*MB free"):
        trainer_of(run).run()
    assert struck
    monkeypatch.undo()
    assert not list(run.rglob(".i2i-tmp-*"))


# Images that fail in the middle


def test_an_image_that_vanishes_meanwhile_is_named(new_run, trainer_of, tmp_path):
    data = kills.draw_images(tmp_path / "data", "paired")
    run = new_run("pix2pix", "run", data=data)
    trainer = trainer_of(run, "data.cache_gb=0")
    shutil.rmtree(data / "train")
    with pytest.raises(UserError, match=str(data)):
        trainer.run()


# Compilation


def test_a_compiled_run_has_the_same_keys_and_goes_on_uncompiled(new_run, trainer_of, monkeypatch):
    real = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda network: real(network, backend="eager")
    )  # the default takes a minute
    run = new_run("pix2pix", "run", "train.compile=true", steps=2)
    trainer_of(run).run()
    weights, _, _ = checkpoint.load(checkpoint.latest(run))
    assert weights.keys() == models.build(runs.saved_config(run)).state_dict().keys()
    trainer_of(run, "train.compile=false", "train.steps=3").run()
    assert models.open_model(run, torch.device("cpu")).name == "run"
