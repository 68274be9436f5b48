"""A run that is stopped anywhere and resumed ends bit for bit where one that is left alone ends."""

import shutil
from pathlib import Path

import kills
import pytest
import safetensors.torch
import torch
from torchvision.models import vgg

from i2i import models, runs
from i2i.errors import UserError
from i2i.losses import perceptual
from i2i.prepare import prepare
from i2i.training import checkpoint
from i2i.training.folder import log, step_of

EXACT = [
    ("pix2pix", ["train.ema=0.9"]),  # with dropout
    ("pix2pix", ["train.precision=bf16", "train.ema=0", "train.schedule=cosine", "train.batch=2", "model.gan=wgan-gp"]),
    ("pix2pix", ["train.optimizer=sgd", "model.z=2", "model.generator.kind=unet", "model.generator.depth=3", "model.gan.r1=1"]),
    ("pix2pix", ["model.gan.augment=[color, translation, cutout]", "model.gan.relativistic=true", "model.lambda_feat=1"]),
    ("cyclegan", ["train.ema=0.9", "model.history=3"]),
    ("cyclegan", ["train.precision=bf16", "train.clip=1", "train.steps=null", "train.epochs=4", "train.batch=2"]),
    ("pix2pixhd", ["train.ema=0.9"]),
    ("pix2pixhd", ["model.features=2", "train.batch=2"]),
    ("pix2pixhd", ["model.history=3", "model.gan.augment=[color]", "model.gan.r1=1"]),
    ("pix2pixhd", ["train.ema=0.9", "model.generator.enhancers=1", "model.fix_epochs=0.8"]),  # the switch comes after 4 steps
    ("bicyclegan", ["train.ema=0.9", "train.batch=3"]),
    ("bicyclegan", ["train.precision=bf16", "model.mode_seeking.weight=1"]),
    ("simgan", ["train.batch=4"]),  # the kills fall into both warm-ups and the game
    ("simgan", ["train.batch=1", "train.ema=0.9", "model.psi=gradient"]),
    ("crn", ["model.images=3", "model.lambda_style=0"]),
]


class Killed(BaseException):
    """Ends a run as abruptly as one process can end another."""


@pytest.fixture
def killed_at(watch):
    """`killed_at(3)`: who watches a trainer and ends it after its third step."""

    def watcher(step):
        def kill(done):
            if done == step:
                raise Killed

        return watch(kill)

    return watcher


@pytest.mark.parametrize(("method", "settings"), EXACT)
def test_a_killed_and_resumed_run_ends_bit_for_bit_where_an_uninterrupted_one_ends(
    new_run, trainer_of, method, settings, killed_at
):
    settings = [*kills.validated(method, every=2), *settings]
    alone, killed = new_run(method, "alone", *settings), new_run(method, "killed", *settings)
    trainer_of(alone).run()
    for step in (1, 3, 5):  # before the first checkpoint, and after the second and the third step beyond one
        with pytest.raises(Killed):
            trainer_of(killed, watcher=killed_at(step)).run()
    trainer_of(killed).run()
    assert kills.differing_bytes(killed, alone) == {}


@pytest.fixture
def narrow_vgg19(monkeypatch, tmp_path):
    """A file with random weights for a very narrow feature network, which stands in for the wide one."""

    def narrow(_=None):
        return vgg.make_layers([size if size == "M" else size // 32 for size in vgg.cfgs["E"]])

    network = narrow()
    torch.manual_seed(0)
    for convolution in network:
        if isinstance(convolution, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(convolution.weight)  # else there would be nothing to see in the deepest layers
    safetensors.torch.save_file(network.state_dict(), tmp_path / "vgg19.safetensors")
    monkeypatch.setattr(perceptual, "architecture", narrow)
    yield tmp_path / "vgg19.safetensors"
    perceptual._placed.cache_clear()
    perceptual._loaded.cache_clear()


def test_taps_that_balance_themselves_do_so_through_a_kill(new_run, trainer_of, killed_at, narrow_vgg19):
    sees = ("model.lambda_perceptual=1", "model.lambda_l1=0", f"model.perceptual.weights={narrow_vgg19}", "model.balance=5")
    alone, killed = (new_run("crn", name, "model.images=2", *sees) for name in ("alone", "killed"))
    trainer_of(alone).run()
    for step in (1, 3, 5):
        with pytest.raises(Killed):
            trainer_of(killed, watcher=killed_at(step)).run()
    trainer_of(killed).run()
    assert kills.differing_bytes(killed, alone) == {}
    means = checkpoint.load_weights(checkpoint.latest(alone) / checkpoint.MODEL)[0]["means"]
    assert len(means.unique()) == len(means) > 1


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (1, 3)])
def test_the_number_of_workers_may_change_between_a_kill_and_its_resume(new_run, trainer_of, before, after, killed_at):
    alone, killed = new_run("cyclegan", "alone"), new_run("cyclegan", "killed")
    trainer_of(alone, "data.workers=0").run()
    with pytest.raises(Killed):
        trainer_of(killed, f"data.workers={before}", watcher=killed_at(3)).run()
    config = killed / runs.CONFIG
    config.write_text(config.read_text().replace("workers: null", f"workers: {after}"))
    trainer = trainer_of(killed)
    assert trainer.workers == after
    trainer.run()
    assert kills.differing_bytes(killed, alone) == {}


def test_the_moments_at_which_a_run_saves_do_not_change_where_it_ends(new_run, trainer_of):
    often, seldom = new_run("pix2pix", "often"), new_run("pix2pix", "seldom")
    trainer_of(often, "train.save_minutes=1e-9").run()
    trainer_of(seldom, "train.save_every=100").run()
    assert kills.differing_bytes(often, seldom) == {}


def test_a_run_killed_between_its_last_log_line_and_its_last_checkpoint_repeats_no_line(new_run, trainer_of, killed_at):
    run = new_run("pix2pix", "run", "train.log_every=1")
    with pytest.raises(Killed):
        trainer_of(run, watcher=killed_at(3)).run()
    trainer_of(run).run()
    assert [row["step"] for row in log(run)] == [1, 2, 3, 4, 5, 6]


def test_sigkill_at_random_moments_and_inside_a_save_changes_no_byte(new_run, trainer_of):
    """tests/training/kills.py does the same with many more kills."""
    alone, killed = new_run("cyclegan", "alone", steps=80), new_run("cyclegan", "killed", steps=80)
    trainer_of(alone).run()
    kills.kill_inside_save(kills.resume(killed), killed)
    for longest in (0.1, 0.2):
        kills.kill_at_random(kills.resume(killed), killed, longest)
    trainer_of(killed).run()
    assert kills.differing_bytes(killed, alone) == {}


def test_resuming_a_finished_run_says_that_there_is_nothing_to_do(new_run, trainer_of, i2i):
    run = new_run("pix2pix", steps=2)
    trainer_of(run).run()
    before = {f: f.stat().st_mtime_ns for f in run.rglob("*") if f.is_file()}
    done = i2i("resume", run)
    assert done.returncode == 0
    assert "there is nothing to do" in done.stderr
    assert "next: i2i translate" in done.stderr
    assert before == {f: f.stat().st_mtime_ns for f in run.rglob("*") if f.is_file()}


def test_a_finished_run_always_has_its_model(new_run, trainer_of, monkeypatch):
    """A kill between the two writes of the last save must not leave a finished run with an old model."""
    alone, killed = new_run("pix2pix", "alone"), new_run("pix2pix", "killed")
    trainer_of(alone).run()
    real, calls = checkpoint.export, []

    def export(*arguments):
        real(*arguments)
        calls.append(arguments)
        if len(calls) == 3:  # steps 2, 4, 6
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "export", export)
        with pytest.raises(Killed):
            trainer_of(killed).run()
    assert not trainer_of(killed).finished
    trainer_of(killed).run()
    assert kills.differing_bytes(killed, alone) == {}


def test_a_longer_run_can_be_asked_for_by_editing_its_config(new_run, trainer_of):
    run = new_run("pix2pix", steps=2)
    trainer_of(run).run()
    trainer_of(run, "train.steps=4").run()
    assert step_of(checkpoint.latest(run)) == 4


def test_starting_weights_survive_a_kill_before_the_first_checkpoint(new_run, trainer_of, tmp_path, killed_at):
    source = new_run("pix2pix", "source", steps=2)
    trainer_of(source).run()
    prepared = prepare(runs.saved_config(source).replaced("the test", train={"steps": 4}))
    start, _ = models.starting_weights(prepared.config, checkpoint.latest(source))
    alone, killed = (runs.create(prepared, tmp_path / name, name, start) for name in ("alone", "killed"))
    with pytest.raises(Killed):
        trainer_of(killed, watcher=killed_at(1)).run()
    shutil.rmtree(source)
    for run in (alone, killed):
        trainer_of(run).run()
    assert kills.differing_bytes(killed, alone) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.generator.width=5"], "does not fit the settings of the run"),
        (["train.ema=0"], "train.ema was switched on or off"),
        (["model.generator.blocks=0"], "does not fit the settings of the run"),
    ],
)
def test_a_config_that_no_longer_fits_the_checkpoint_is_named(new_run, trainer_of, changes, words):
    run = new_run("pix2pix", steps=2)
    trainer_of(run).run()
    with pytest.raises(UserError, match=words) as error:
        trainer_of(run, "train.steps=4", *changes).run()
    assert str(run / "config.yaml") in error.value.hint


def test_a_lower_learning_rate_in_the_config_holds_from_the_next_step_on(new_run, trainer_of):
    run = new_run("pix2pix", steps=2)
    trainer_of(run).run()
    trainer = trainer_of(run, "train.steps=3", "train.lr=1e-7", "train.schedule=constant")
    trainer.run()
    assert {group["lr"] for optimizer in trainer.update.optimizers.values() for group in optimizer.param_groups} == {1e-7}


# The data between two runs


def test_data_that_has_vanished_is_a_clear_error(new_run, tmp_path, i2i):
    data = kills.draw_images(tmp_path / "data", "paired")
    run = new_run("pix2pix", data=data)
    shutil.rmtree(data)
    done = i2i("resume", run)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: there is no folder '{data}'\nhint: ")
    assert "data.source" in done.stderr


def test_data_that_has_changed_is_said_and_the_run_goes_on(new_run, trainer_of, tmp_path, watch):
    data = kills.draw_images(tmp_path / "data", "paired")
    run = new_run("pix2pix", data=data, steps=2)
    trainer_of(run).run()
    (data / "train" / "0.png").unlink()
    silent = watch()
    trainer_of(run, "train.steps=4", watcher=silent).run()
    (said,) = silent.said
    assert said.startswith("warning: the data has changed since this run was saved (5 and 5 images then, 4 and 4 now)")


def test_data_that_has_only_moved_changes_nothing(new_run, trainer_of, tmp_path, killed_at, watch):
    data = kills.draw_images(tmp_path / "data", "paired")
    alone, moved = new_run("pix2pix", "alone", data=data), new_run("pix2pix", "moved", data=data)
    trainer_of(alone).run()
    with pytest.raises(Killed):
        trainer_of(moved, watcher=killed_at(3)).run()
    data.rename(tmp_path / "elsewhere")
    silent = watch()
    trainer_of(moved, f"data.source={tmp_path / 'elsewhere'}", watcher=silent).run()
    assert silent.said == []
    assert kills.differing_bytes(moved, alone) == {}


@pytest.mark.parametrize("text", ["", "train: {}", "[1, 2", "method: [pix2pix]"])
def test_a_folder_whose_config_is_broken_is_a_clear_error(new_run, text):
    run = new_run("pix2pix")
    (run / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        runs.saved_config(run)


def test_a_folder_that_is_no_run_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        runs.saved_config(tmp_path)


def test_a_run_has_the_name_of_its_data(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my.photos", "A", "B"):
        (tmp_path / name).mkdir()
    (tmp_path / "list.csv").touch()
    names = {source: runs.name_of(source) for source in ("scenes", "my.photos/", "list.csv", "A,B", "./A", "A/..", "A/.")}
    assert names == {
        "scenes": "scenes", "my.photos/": "my.photos", "list.csv": "list", "A,B": "A", "./A": "A", "A/.": "A",
        "A/..": tmp_path.name,
    }  # fmt: skip
