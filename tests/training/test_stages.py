"""A run of several stages: what each takes from the one before, how its steps are counted, and that a kill changes nothing."""

import json
from itertools import pairwise

import kills
import pytest
import torch
from test_resume import Killed

from i2i import models, runs
from i2i.config import Layer, from_assignments, from_file, parse, resolve
from i2i.errors import UserError
from i2i.prepare import prepare
from i2i.training import checkpoint
from i2i.training.folder import log, step_of

TWO = ("stages.small.train.steps=3", "stages.large.train.steps=4", "stages.large.data.size=32")


def staged(new_run, name="run", *more):
    return new_run("pix2pix", name, "train.log_every=1", "data.load_size=32", *TWO, *more)


def test_the_steps_of_all_stages_are_counted_through(new_run, train_all, watch):
    run, steps = staged(new_run), []
    train_all(run, watch(steps.append))
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    rows = log(run)
    assert [row["step"] for row in rows] == steps
    assert {row["steps"] for row in rows} == {7}
    assert step_of(checkpoint.latest(run)) == 7


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


@pytest.fixture
def train_killed(train_all, watch):
    """`train_killed(run, (1, 4))`: all stages of it, killed after these steps and resumed."""

    def train(run, steps):
        for step in steps:

            def kill(done, step=step):
                if done == step:
                    raise Killed

            with pytest.raises(Killed):
                train_all(run, watch(kill))
        train_all(run)

    return train


@pytest.mark.parametrize("steps", [(1, 4, 6), (2, 3, 5), (3,)])
def test_a_kill_in_any_stage_and_between_two_changes_no_byte(new_run, train_all, train_killed, steps):
    alone, killed = staged(new_run, "alone"), staged(new_run, "killed")
    train_all(alone)
    train_killed(killed, steps)
    assert kills.differing_bytes(killed, alone) == {}


# Networks that grow from stage to stage


GLOBAL_THEN_LOCAL = (  # five images, so the coarse part waits for five steps of the second stage
    *("stages.global.train.steps=3", "stages.global.model.generator.width=4", "stages.global.model.discriminator.scales=1"),
    *("stages.local.train.steps=8", "stages.local.model.generator.enhancers=1", "stages.local.model.generator.width=2"),
    *("stages.local.model.discriminator.scales=2", "stages.local.model.fix_epochs=1"),
)
COARSE_THEN_GROWN = (
    *("stages.coarse.train.steps=3", "stages.coarse.model.images=2"),
    *("stages.grown.train.steps=4", "stages.grown.model.modules=4", "stages.grown.model.train_from=2"),
)


@pytest.mark.parametrize(
    ("method", "settings", "steps"),
    [
        ("pix2pixhd", GLOBAL_THEN_LOCAL, (3, 4, 8, 10)),  # step 4 is the first of the second stage; in 9 the coarse part begins
        ("crn", COARSE_THEN_GROWN, (2, 3, 4, 6)),
    ],
)
def test_a_kill_changes_no_byte_where_networks_grow(new_run, train_all, train_killed, method, settings, steps):
    alone, killed = (new_run(method, name, "train.log_every=1", *settings) for name in ("alone", "killed"))
    train_all(alone)
    train_killed(killed, steps)
    assert kills.differing_bytes(killed, alone) == {}


def watched(run, watch, weights):
    """What `weights(method)` are before a stage and after each of its steps, for every stage; and what was said."""
    seen, said = [], []
    for _, trainer in runs.trainers(run, prepare(runs.saved_config(run)), watch()):
        here = [weights(trainer.method)]
        said += trainer.watcher.said
        trainer.watcher = watch(lambda _, here=here, method=trainer.method: here.append(weights(method)))
        trainer.run()
        seen.append(here)
    return seen, said


def kernels(network):
    return torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim == 4])


def moves(series):
    """For each step whether it changed anything."""
    return [not torch.equal(before, after) for before, after in pairwise(series)]


def test_the_coarse_weights_come_from_the_stage_before_and_wait_for_the_switch(new_run, watch):
    run = new_run("pix2pixhd", "run", "train.ema=0", *GLOBAL_THEN_LOCAL)
    trunk = 17  # the layers of the global generator before those that make an image
    (before, local), said = watched(run, watch, lambda method: kernels(method.G.model[:trunk]))
    assert moves(before) == 3 * [True]
    assert torch.equal(local[0], before[-1])
    assert moves(local) == 5 * [False] + 3 * [True]
    assert "fresh: " in said[0]
    assert "not used: G.model.18." in said[0]


def test_a_cascade_grows_around_modules_that_stay_and_gets_a_new_head(new_run, watch):
    run = new_run("crn", "run", "train.ema=0", *COARSE_THEN_GROWN)
    (coarse, grown), said = watched(run, watch, lambda method: kernels(method.G.M[:2]))
    assert moves(coarse) == 3 * [True]
    assert moves(grown) == 4 * [False]
    assert torch.equal(grown[0], coarse[-1])
    assert "fresh: G.M.3" in said[0]
    assert "not used: G.head.3" in said[0]


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


@pytest.mark.parametrize(
    ("stage", "key", "length"),
    [
        ("{epochs: 5}", "epochs", 1),
        ("{epochs: 5}", "steps", 1),  # a length given otherwise
        ("{steps: 5}", "epochs", 1),
        ("{steps: 5}", "steps", 1),
        ("{lr: 1e-3, steps: 5}", "lr", 1e-4),
    ],
)
def test_an_option_that_every_stage_would_hide_is_refused(stage, key, length):
    preset = Layer("preset 'x'", parse(f"stages: {{a: {{train: {stage}}}}}", "preset 'x'"))
    with pytest.raises(UserError) as caught:
        configured(preset, Layer(f"--{key}", {"train": {key: length}}))
    assert caught.value.message == f"--{key} gives train.{key}, but the stage 'a' has its own"
    assert caught.value.hint == f"give it to the stage: --set stages.a.train.{key}=…"
    given = configured(preset, from_assignments([f"stages.a.train.{key}={length}"]))
    assert getattr(given.by_stage()["a"].train, key) == length


def test_an_option_that_no_stage_has_holds_for_all_of_them():
    preset = Layer("preset 'x'", parse("stages: {a: {train: {lr: 1e-3}}, b: {}}", "preset 'x'"))
    stages = configured(preset, Layer("--steps", {"train": {"steps": 1}})).by_stage()
    assert [stage.train.steps for stage in stages.values()] == [1, 1]


@pytest.mark.parametrize("above", [{"train": {"lr": 1e-3}}, {"stages": {"b": {"train": {"lr": 1e-3}}}}])
@pytest.mark.parametrize("stages", ["3", "[a]", "{a: 3}", "{a: [1]}"])
def test_stages_that_hold_no_settings_are_named_whatever_lies_above(stages, above):
    with pytest.raises(UserError, match="stages must hold settings by the name of each stage"):
        configured(Layer("a file", parse(f"stages: {stages}", "a file")), Layer("more", above))


def test_null_means_that_there_are_no_stages():
    none = Layer("a file", parse("stages: null", "a file"))
    assert list(configured(none, Layer("--steps", {"train": {"steps": 1}})).by_stage()) == [""]
    assert list(configured(none, from_assignments(["stages.a.train.steps=1"])).by_stage()) == ["a"]
    assert configured(from_assignments(["stages.a.train.steps=1"]), none).stages == {}


def test_the_settings_of_stages_are_shown_as_a_file_would_hold_them(i2i):
    done = i2i("config", "pix2pixhd", "--preset", "1024")
    assert done.returncode == 0, done.stderr
    tree = parse(done.stdout, "the output")
    assert list(tree["stages"]) == ["global", "local"]
    assert resolve("pix2pixhd", models.method_class("pix2pixhd").Config, [Layer("x", tree)]).stages == tree["stages"]
