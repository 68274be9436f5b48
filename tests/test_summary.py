"""Where a run stands: told from its folder, whatever has become of it."""

import pytest

from i2i import atomic
from i2i.errors import UserError
from i2i.summary import summary, translating

TREE = {"method": "pix2pix", "data": {"source": "/photos"}, "train": {"steps": 100, "batch": 2}}
KEYS = ("state", "step", "saved", "steps", "epoch", "seconds")


@pytest.fixture
def run(run_folder):
    """The same for runs of a hundred steps."""
    return lambda *log, **changes: run_folder("run", *log, **{**TREE, **changes})


def line(step, seconds, **values):
    return {"step": step, "steps": 100, "epoch": step / 10, "seconds": seconds, **(values or {"G/l1": 1.0, "lr/G": 0.1})}


def staged(log):
    """The lines of a run whose second stage begins after step 20."""
    return [row | {"from": 0 if row["step"] <= 20 else 20} for row in log]


def told(folder):
    about = summary(folder)
    return tuple(about[key] for key in KEYS)


def test_a_run_stopped_before_its_first_line_tells_epoch_and_seconds_by_its_checkpoint(run):
    assert told(run(saved=[7])) == ("stopped", 7, 7, 100, 0.7, 3.5)


def test_a_run_in_epochs_then_knows_its_steps_too(run):
    assert told(run(saved=[7], train={"epochs": 3, "batch": 4})) == ("stopped", 7, 7, 15, 1.4, 3.5)


def test_sets_without_pairs_have_epochs_of_the_larger_one(run):
    assert told(run(saved=[7], method="cyclegan", train={"epochs": 1}))[3:5] == (30, 0.2333)


def test_a_killed_run_stands_at_its_last_line_and_goes_on_from_its_checkpoint(run):
    folder = run([line(10, 5.0), line(20, 9.0)], saved=[15])
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 30, "ste')
    assert told(folder) == ("stopped", 20, 15, 100, 2.0, 9.0)
    about = summary(folder)
    assert (about["seconds_per_step"], about["seconds_left"]) == (0.4, 32.0)
    assert (about["losses"], about["rates"]) == ({"G/l1": 1.0}, {"G": 0.1})


def test_a_run_stopped_between_two_lines_stands_at_its_checkpoint(run):
    assert told(run([line(10, 4.0), line(20, 9.0)], saved=[25])) == ("stopped", 25, 25, 100, 2.5, 12.5)


def test_the_clocks_of_stages_are_added_up_and_the_pace_is_that_of_the_last(run):
    stages = {"coarse": {"train": {"steps": 20}}, "fine": {"train": {"steps": 60, "batch": 4}}}
    state = {"step": 30, "ranks": 1, "seconds": 90.0}
    log = staged([line(10, 5.0), line(20, 9.0), line(30, 30.0), line(40, 60.0)])
    folder = run(log, saved=[50], state=state, stages=stages)
    assert told(folder) == ("stopped", 50, 50, 100, 6.0, 99.0)  # 9 of the coarse stage, and 90
    assert summary(folder)["seconds_per_step"] == 3.0


def test_only_validations_of_the_last_stage_are_compared_with_each_other(run):
    stages = {"coarse": {"train": {"steps": 20}}, "fine": {"train": {"steps": 60}}}
    log = [line(step, step, **{"val/ssim": value}) for step, value in ((10, 0.9), (20, 0.8), (30, 0.2), (40, 0.3), (50, 0.1))]
    found = summary(run(staged(log), saved=[50], stages=stages))["validation"]
    assert (found["count"], found["metrics"]["ssim"]["best"], found["metrics"]["ssim"]["last"]) == (
        3, {"step": 40, "value": 0.3}, {"step": 50, "value": 0.1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "train", "by"),
    [
        ("pix2pix", {}, "ssim"),
        ("cyclegan", {}, "swd"),
        ("pix2pix", {"best_by": "l1"}, "l1"),
        ("pix2pix", {"metrics": ["psnr", "l1"]}, "psnr"),
    ],
)
def test_the_best_is_by_ssim_of_pairs_swd_of_sets_or_as_the_settings_say(run, method, train, by):
    assert summary(run([line(1, 1.0, **{"val/l1": 1.0})], method=method, train=train))["best_by"] == by


def test_losses_are_those_of_training_though_a_validation_came_later(run):
    about = summary(run([line(10, 5.0), line(10, 6.0, **{"val/ssim": 0.5, "train/ssim": 0.6, "probe/x": 1})]))
    assert about["losses"] == {"G/l1": 1.0}
    assert about["seconds"] == 6.0


def test_a_run_is_finished_at_its_last_step_or_when_its_patience_ends(run):
    assert summary(run([line(100, 9.0)], saved=[100]))["state"] == "finished"


@pytest.mark.parametrize(("saved", "state"), [(30, "finished"), (20, "stopped")])
def test_patience_ends_a_run_once_the_checkpoint_of_its_end_is_written(run, saved, state):
    log = [line(step, step, **{"val/ssim": 1 / step}) for step in (10, 20, 30)]
    assert summary(run(log, saved=[saved], train={"steps": 100, "patience": 2}))["state"] == state


@pytest.mark.parametrize("changes", [{"model": None}, {"model": {"gan": "hinge"}}, {"method": "pix3pix"}])
def test_the_settings_of_another_version_and_an_unknown_method_are_enough(run, changes):
    log = [line(step, step, **{"G/gan": 1.0, "D/real": 0.0, "D/fake": 0.0}) for step in range(1, 90)]
    assert summary(run([row | {"from": 0, "until": 100} for row in log], **changes))["warnings"] == []


def test_what_is_recommended_is_the_best_where_it_is_not_the_last(run):
    folder = run(saved=[7, 9])
    assert summary(folder)["recommended"] == str(folder)
    (folder / "checkpoints" / "best").symlink_to("step-000000007")
    assert summary(folder)["recommended"] == str(folder / "checkpoints" / "best")
    assert translating(summary(folder)) == f"i2i translate {folder}/checkpoints/best FOLDER -o OUT"


def test_a_run_that_needs_instance_maps_is_translated_with_them(run):
    x = {"channels": 5, "labels": True, "instances": True}
    assert translating(summary(run(data={"x": x}))).endswith("FOLDER -o OUT --instances DIR")


def test_a_run_that_is_being_trained_says_so_and_is_not_disturbed(run):
    folder = run([line(10, 5.0)])
    with atomic.locked(folder / ".lock"):  # flock tells open files apart, of one process too
        assert [summary(folder)["state"] for _ in range(2)] == ["running"] * 2
    assert summary(folder)["state"] == "stopped"


def test_the_config_of_an_older_version_and_a_damaged_checkpoint_are_enough(run):
    folder = run(saved=[7], seen={})
    (folder / "config.yaml").write_text("method: pix2pix\n")
    for name in ("trainer.pt", "model.safetensors"):
        (folder / "checkpoints" / "step-000000007" / name).write_bytes(b"\x08\0\0\0\0\0\0\0damaged!")
    assert told(folder) == ("stopped", 7, 7, None, 0, 0)
    assert summary(folder)["validation"] is None


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        summary(tmp_path)


@pytest.mark.parametrize("best", [None, "step-000000007"])
def test_a_link_says_which_checkpoint_is_the_best(run, best):
    folder = run(saved=[7, 9])
    if best:
        (folder / "checkpoints" / "best").symlink_to(best)
    assert (summary(folder)["best"], summary(folder)["last"]) == (best, "step-000000009")
