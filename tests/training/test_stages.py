"""A run of several stages: what each takes from the one before, how its steps are counted, and that a kill changes nothing."""

import json

import kills
import pytest
from test_resume import Killed

from i2i import models, runs
from i2i.config import Layer, from_assignments, from_file, parse, resolve
from i2i.errors import UserError
from i2i.prepare import prepare
from i2i.training import checkpoint
from i2i.training.journal import rows

TWO = ("stages.small.train.steps=3", "stages.large.train.steps=4", "stages.large.data.size=32")


def staged(new_run, name="run", *more):
    return new_run("pix2pix", name, "train.log_every=1", "data.load_size=32", *TWO, *more)


def test_the_steps_of_all_stages_are_counted_through(new_run, train_all, watch):
    run, steps = staged(new_run), []
    train_all(run, watch(steps.append))
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    log = rows(run / "metrics.jsonl")
    assert [row["step"] for row in log] == steps
    assert {row["steps"] for row in log} == {7}
    assert checkpoint.step_of(checkpoint.latest(run)) == 7


def test_a_stage_starts_from_the_weights_of_the_one_before_and_says_what_is_fresh(new_run, train_all, watch):
    run = staged(new_run, "run", "stages.large.train.lr=1e-9", "train.ema=0")
    stages = runs.trainers(run, prepare(runs.saved_config(run)), watch())
    _, first = next(stages)
    first.run()
    trained = {name: t.clone() for name, t in first.method.state_dict().items()}
    _, second = next(stages)
    assert all(second.method.state_dict()[name].equal(t) for name, t in trained.items())
    assert second.watcher.said[0].startswith("starting from ")


def test_each_stage_trains_on_its_own_settings(new_run, train_all, watch):
    run = staged(new_run)
    sizes = []
    for _, trainer in runs.trainers(run, prepare(runs.saved_config(run)), watch()):
        sizes.append(trainer.samples[0].x.shape[0])
        trainer.run()
    assert sizes == [16, 32]


def test_the_model_says_itself_which_stage_it_is_of(new_run, train_all):
    run = staged(new_run)
    train_all(run)
    _, about = checkpoint.load_weights(run / "model.safetensors")
    assert about["config"]["data"]["size"] == 32
    assert "stages" not in about["config"]
    assert models.open_model(run, runs.choose_device("cpu")).config.data.size == 32


@pytest.mark.parametrize("steps", [(1, 4, 6), (2, 3, 5), (3,)])
def test_a_kill_in_any_stage_and_between_two_changes_no_byte(new_run, train_all, watch, steps):
    alone, killed = staged(new_run, "alone"), staged(new_run, "killed")
    train_all(alone)

    def kill(at):
        def watcher(done):
            if done == at:
                raise Killed

        return watch(watcher)

    for step in steps:
        with pytest.raises(Killed):
            train_all(killed, kill(step))
    train_all(killed)
    assert kills.differing_bytes(killed, alone) == {}


def test_a_run_that_is_done_has_nothing_to_do(new_run, train_all, i2i):
    run = staged(new_run)
    train_all(run)
    done = i2i("resume", run)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("there is nothing to do") == 2
    shown = json.loads(i2i("show", run, "--json").stdout)
    assert (shown["step"], shown["steps"]) == (7, 7)


# The configuration


def configured(*layers):
    return models.configure("pix2pix", list(layers))


def test_a_stage_lays_its_values_over_the_others():
    config = configured(from_assignments(["train.batch=3", "stages.a.train.steps=5", "stages.b.model.lambda_l1=7"]))
    a, b = config.by_stage().values()
    assert (a.train.steps, a.train.batch, a.model.lambda_l1) == (5, 3, 100)
    assert (b.train.steps, b.train.batch, b.model.lambda_l1) == (None, 3, 7)
    assert b.sources["model.lambda_l1"] == "stage 'b'"
    assert a.stages == {}


def test_a_configuration_without_stages_is_one_stage():
    config = configured()
    assert config.by_stage() == {"": config}


def test_stages_survive_the_way_through_a_file(tmp_path):
    from i2i.config import dump

    config = configured(from_assignments(["stages.a.train.steps=5", "stages.b.train.epochs=2"]))
    (tmp_path / "c.yaml").write_text(dump(config.tree()))
    again = configured(from_file(tmp_path / "c.yaml"))
    assert again == config
    assert again.by_stage()["b"].train.steps is None


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (["stages.a.train.lrr=1"], "there is no setting 'train.lrr' (from stage 'a')", "did you mean 'train.lr'?"),
        (["stages.a.train.lr=x"], "train.lr must be a valid number", None),
        (["stages.a.data.source=x"], "the stage 'a' sets data.source, which all stages of a run share", None),
        (["stages.a.trian.lr=1"], "there is no setting 'trian.lr' (from stage 'a')", None),
        (["stages.a=3"], "stages must hold settings by the name of each stage", None),
    ],
)
def test_a_wrong_stage_is_named_before_anything_is_trained(values, message, hint):
    with pytest.raises(UserError) as caught:
        configured(from_assignments(values))
    assert message in caught.value.message
    assert hint is None or caught.value.hint == hint


def test_an_option_that_every_stage_would_hide_is_refused():
    preset = Layer("preset 'x'", parse("stages: {a: {train: {epochs: 5}}}", "preset 'x'"))
    with pytest.raises(UserError, match=r"--epochs gives train\.epochs, but the stage 'a' has its own") as caught:
        configured(preset, Layer("--epochs", {"train": {"epochs": 1}}))
    assert caught.value.hint == "give it to the stage: --set stages.a.train.epochs=…"
    assert configured(preset, from_assignments(["stages.a.train.epochs=1"])).by_stage()["a"].train.epochs == 1


def test_the_settings_of_stages_are_shown_as_a_file_would_hold_them(i2i):
    done = i2i("config", "pix2pixhd", "--preset", "1024")
    assert done.returncode == 0, done.stderr
    tree = parse(done.stdout, "the output")
    assert list(tree["stages"]) == ["global", "local"]
    assert resolve("pix2pixhd", models.method_class("pix2pixhd").Config, [Layer("x", tree)]).stages == tree["stages"]
