"""Validation while training: what is measured, on which images, which checkpoint is kept, and when it ends a run."""

import shutil

import kills
import numpy as np
import pytest
import torch

from i2i import evaluate, models, runs, validation
from i2i.config import from_assignments
from i2i.data.loader import collate
from i2i.errors import UserError
from i2i.metrics.paired import l1
from i2i.models import open_model
from i2i.prepare import prepare
from i2i.scores import Asked
from i2i.training import checkpoint
from i2i.training.best import badness, best_of, waits
from i2i.training.folder import checkpoints, log, step_of

PAIRS = ["data.hold_back=2", "train.validate_every=2", "train.metrics=[l1, ssim]", "train.best_by=l1", "train.keep=1"]


def rows(run, prefix):
    found = log(run)
    return [row for row in found if any(name.startswith(prefix) for name in row)]


@pytest.fixture
def values(monkeypatch):
    """`values(3.0, 1.0, ...)`: what the validations of a run find, one after another, as val/l1."""

    def set_values(*found):
        left = list(found)
        monkeypatch.setattr("i2i.validation.Validation.__call__", lambda *_: {"val/l1": left.pop(0)})

    return set_values


def test_a_line_for_each_validation_holds_each_metric_of_held_out_and_of_training_images(new_run, trainer_of):
    run = new_run("pix2pix", "run", *PAIRS, steps=5)
    trainer_of(run).run()
    found = rows(run, "val/")
    assert [row["step"] for row in found] == [2, 4, 5]
    assert {"val/l1", "val/ssim", "train/l1", "train/ssim", "seconds", "epoch"} <= found[0].keys()
    assert found[0]["val/l1"] != found[0]["train/l1"]
    assert not any("G/gan" in row for row in found)


@pytest.mark.parametrize("method", kills.MODEL)
def test_every_method_is_validated(new_run, trainer_of, method):
    run = new_run(method, "run", *kills.validated(method, every=1), steps=1)
    trainer_of(run).run()
    assert len(rows(run, "val/")) == 1
    assert (run / "checkpoints" / "best").is_symlink()


def test_what_is_measured_is_the_model_that_is_written(new_run, trainer_of):
    run = new_run("pix2pix", "run", *PAIRS, "train.ema=0.5", "model.generator.dropout=false", steps=3)
    trainer = trainer_of(run)
    trainer.run()
    method, measured = open_model(run, torch.device("cpu")).method, []
    for number in range(2):
        batch = trainer._floats(collate([trainer.fixed[number]]))
        with torch.no_grad():
            made = ((method.translate(batch.x) + 1) * 127.5).round()
        measured.append(float(l1(made, (batch.y + 1) * 127.5)))
    assert rows(run, "val/")[-1]["val/l1"] == pytest.approx(np.mean(measured), abs=1e-4)


def test_networks_run_in_the_precision_of_the_run_and_metrics_in_float32(new_run, trainer_of, monkeypatch):
    seen = {}
    look, measure = validation.Validation._translated, validation.score

    def translated(self, method, *given):
        method.G.register_forward_hook(lambda *_: seen.update(networks=torch.is_autocast_enabled("cpu")))
        return look(self, method, *given)

    def score(*given, **named):
        seen["metrics"] = torch.is_autocast_enabled("cpu")
        return measure(*given, **named)

    monkeypatch.setattr(validation.Validation, "_translated", translated)
    monkeypatch.setattr(validation, "score", score)
    run = new_run("pix2pix", "run", "train.precision=bf16", *kills.validated("pix2pix", every=6))
    trainer_of(run).run()
    assert seen == {"networks": True, "metrics": False}


def test_a_run_learns_the_same_whether_it_is_validated_or_not(new_run, trainer_of):
    """With dropout and noise, which draw from the generators that a validation must not touch."""
    weights = []
    for every in (0, 1):
        run = new_run("bicyclegan", str(every), "data.hold_back=2", f"train.validate_every={every}")
        trainer_of(run).run()
        weights.append(checkpoint.load_weights(run / "model.safetensors")[0])
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_the_best_checkpoint_stays_beside_the_last_one(new_run, trainer_of, watch, values):
    run, watcher = new_run("pix2pix", "run", *PAIRS, steps=8), watch()
    values(3.0, 1.0, 2.0, 1.0)
    trainer_of(run, watcher=watcher).run()
    assert [f.name for f in checkpoints(run)] == ["step-000000004", "step-000000008"]
    assert (run / "checkpoints" / "best").resolve().name == "step-000000004"
    said = [text for text in watcher.said if "validation" in text]
    assert said[0] == "validation of step 2: l1 3  (the best so far)"
    assert said[2] == "validation of step 6: l1 2  (best: step 4)"


def test_the_best_one_is_still_known_after_a_resume(new_run, trainer_of, values, watch):
    class Stopped(Exception):
        pass

    def stop(done):
        if done == 6:
            raise Stopped

    run = new_run("pix2pix", "run", *PAIRS, steps=8)
    values(1.0, 2.0)
    with pytest.raises(Stopped):
        trainer_of(run, watcher=watch(stop)).run()
    (run / "checkpoints" / "best").unlink()  # as if it had been killed before that was written
    values(2.0, 3.0)
    trainer_of(run).run()
    assert (run / "checkpoints" / "best").resolve().name == "step-000000002"
    assert [row["val/l1"] for row in rows(run, "val/")] == [1.0, 2.0, 2.0, 3.0]


def test_patience_ends_a_run_that_gets_no_better_and_a_resume_finds_nothing_to_do(new_run, trainer_of, values):
    run = new_run("pix2pix", "run", *PAIRS, "train.patience=2", steps=20)
    values(3.0, 1.0, 2.0, 2.0)
    trainer_of(run).run()
    assert step_of(checkpoint.latest(run)) == 8
    assert trainer_of(run).finished
    assert not trainer_of(run, "train.patience=3").finished
    values(*[0.5] * 6)
    trainer_of(run, "train.patience=5").run()
    assert step_of(checkpoint.latest(run)) == 20


def test_without_patience_a_run_goes_on(new_run, trainer_of, values):
    run = new_run("pix2pix", "run", *PAIRS, steps=10)
    values(1.0, 2.0, 3.0, 4.0, 5.0)
    trainer_of(run).run()
    assert step_of(checkpoint.latest(run)) == 10


def test_each_stage_has_a_best_of_its_own(new_run, train_all, values):
    run = new_run("pix2pix", "run", *PAIRS, "stages.one.train.steps=2", "stages.two.train.steps=4")
    values(1.0, 4.0, 3.0)
    train_all(run)
    assert (run / "checkpoints" / "best").resolve().name == "step-000000006"
    assert len(checkpoints(run)) == 1


# Which images


def split(run):
    prepared = prepare(runs.saved_config(run), decode=False)
    return [{source.name for source in sides.a} for sides in (prepared.train, prepared.held_out)]


def test_images_that_are_held_back_are_not_trained_on_and_evaluate_takes_the_same(new_run, trainer_of):
    run = new_run("pix2pix", "run", *PAIRS, steps=1)
    train, held_out = split(run)
    assert (len(train), len(held_out)) == (3, 2)
    assert not train & held_out
    trainer_of(run).run()
    said = []
    report = evaluate.a_run(run, Asked(["l1"]), say=said.append)
    assert report.numbers[0].n == 2
    assert "2 of 5 pairs are held back" in said[0]


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_who_is_held_back_stays_so_when_images_are_added(new_run, images, tmp_path, method):
    data = shutil.copytree(images(method), tmp_path / "data")
    before = split(new_run(method, "before", "data.hold_back=2", data=data))[1]
    for file in list(data.rglob("0.png")):
        shutil.copy(file, file.with_name("added.png"))
    after = split(new_run(method, "after", "data.hold_back=3", data=data))[1]
    assert before < after
    assert len(after) == 3


def prepared(images, *settings, method="pix2pix"):
    fast = [f"model.{s}" for s in kills.MODEL[method]] + [f"train.{s}" for s in kills.TRAIN]
    layers = [*fast, "data.size=16", f"data.source={images(method)}", *settings]
    return prepare(models.configure(method, [from_assignments(layers)]), decode=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.patience=3"], "train.patience has no effect, since there are no held-out images"),
        (["train.best_by=l1", "train.validate_every=0", "data.hold_back=1"], "train.best_by has no effect"),
        (["data.hold_back=5"], "data.hold_back is 5, and a side has 5 images"),
        (["data.hold_back=1", "train.metrics=[l2]"], "train.metrics: there is no metric 'l2'"),
        (["data.hold_back=1", "train.metrics=[]"], "train.metrics names no metric"),
        (["data.hold_back=1", "train.metrics=[styles-pixels]"], "train.metrics cannot have 'styles-pixels' for pix2pix"),
        (["data.hold_back=1", "train.best_by=psn"], "train.best_by is 'psn', which is not measured"),
        (["data.hold_back=1", "train.best_by=swd"], "swd needs 10 images, and 1 are held out"),
        (["data.hold_back=1", "train.metrics=[swd]", "train.patience=1"], "swd needs 10 images"),
    ],
)
def test_settings_that_cannot_have_their_effect_are_refused(images, settings, message):
    with pytest.raises(UserError) as caught:
        prepared(images, *settings)
    assert message in caught.value.message
    assert caught.value.hint


def test_pairs_cannot_be_measured_where_there_are_none(images):
    with pytest.raises(UserError, match=r"train.metrics cannot have 'l1' for cyclegan"):
        prepared(images, "data.hold_back=2", "train.metrics=[l1]", method="cyclegan")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ([], "there are no held-out images, so nothing is validated"),
        (["data.hold_back=2"], "every 1000 steps 2 held-out images are measured; the best checkpoint is that by ssim"),
        (["data.hold_back=2", "train.metrics=[swd]"], "2 held-out images are too few for swd, which needs 10"),
    ],
)
def test_how_a_run_will_be_validated_is_said_before_it_starts(images, settings, line):
    assert any(text.startswith(line) for text in prepared(images, *settings).said)


def test_weights_that_a_metric_needs_are_missed_before_training(images, monkeypatch, tmp_path):
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="LPIPS needs the weights"):
        prepared(images, "data.hold_back=2", "train.metrics=[l1, lpips]", "train.best_by=l1")


# Which is the best


def test_what_is_best_follows_from_the_direction_of_the_metric_and_of_equals_the_first():
    log = [{"step": n, "val/psnr": v, "val/l1": v, "val/1nn-pixels": v} for n, v in ((1, 0.2), (2, 0.9), (3, 0.4), (4, 0.9))]
    assert best_of(log, "psnr") == (2, 0.9)
    assert best_of(log, "l1") == (1, 0.2)
    assert best_of(log, "1nn-pixels") == (3, 0.4)
    assert best_of(log, "psnr", after=2) == (4, 0.9)
    assert best_of([{"step": 1, "G/l1": 1.0}], "l1") is None
    assert [waits(log, name) for name in ("psnr", "l1", "1nn-pixels")] == [2, 3, 1]
    assert badness("1nn-pixels", 0.25) == badness("1nn-pixels", 0.75) > badness("1nn-pixels", 0.625)
