"""Checkpoints are complete or not there, and the newest one can always be loaded."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import kills
import pytest
import torch

from i2i.errors import OutOfResources, UserError
from i2i.training import checkpoint
from i2i.training.folder import step_of

WEIGHTS = {"G.weight": torch.arange(6.0), "D.weight": torch.zeros(2, 2)}
STATE = {"step": 0, "rng": torch.get_rng_state()}
ABOUT = {"config": {"method": "pix2pix"}}
WRITING = [
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (os, "mkdir"),
    (os, "symlink"),
    (Path, "write_bytes"),
]
ELSE = [(torch, "save"), (os, "open"), (os, "unlink"), (os, "rmdir")]


class Killed(BaseException):
    pass


def save(run, step, keep=2, best=None):
    folder = checkpoint.save(run, step, WEIGHTS, STATE | {"step": step}, ABOUT)
    checkpoint.thin(run, keep, best)
    return folder


def names(run):
    return sorted(f.name for f in (run / "checkpoints").iterdir())


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    save(tmp_path, 7)
    weights, about, state = checkpoint.load(checkpoint.latest(tmp_path))
    assert all(torch.equal(weights[name], tensor) for name, tensor in WEIGHTS.items())
    assert about == ABOUT
    assert state["step"] == 7


def test_the_last_few_are_kept_and_last_points_at_the_newest(tmp_path):
    for step in range(1, 21):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["last", "step-000000018", "step-000000019", "step-000000020"]
    assert (tmp_path / "checkpoints" / "last").resolve() == checkpoint.latest(tmp_path).resolve()


def test_the_best_one_is_kept_and_pointed_at_until_another_is_better(tmp_path):
    best = tmp_path / "checkpoints" / "best"
    for step in range(1, 11):
        save(tmp_path, step, best=3 if step >= 3 else None)
    assert names(tmp_path) == ["best", "last", "step-000000003", "step-000000009", "step-000000010"]
    assert best.resolve().name == "step-000000003"
    save(tmp_path, 11, best=11)
    assert names(tmp_path) == ["best", "last", "step-000000010", "step-000000011"]
    assert best.resolve().name == "step-000000011"


def test_steps_are_in_order_even_beyond_nine_digits(tmp_path):
    for step in (999_999_999, 1_000_000_000):
        save(tmp_path, step)
    assert step_of(checkpoint.latest(tmp_path)) == 1_000_000_000


def test_a_file_system_without_links_has_checkpoints_all_the_same(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    save(tmp_path, 1)
    assert names(tmp_path) == ["step-000000001"]


def interrupted_save(run, monkeypatch, operations, at, error):
    """Save step 2, raising `error` at the `at`-th file operation. Returns whether there were that many."""
    count = 0
    with monkeypatch.context() as patched:
        for owner, name in operations:
            real = getattr(owner, name)

            def counted(*a, real=real, **k):
                nonlocal count
                count += 1
                if count == at:
                    raise error
                return real(*a, **k)

            patched.setattr(owner, name, counted)
        with suppress(Killed, OutOfResources):
            save(run, 2, keep=1)
    return count >= at


def test_a_save_killed_at_any_of_its_operations_leaves_a_checkpoint_that_loads(tmp_path, monkeypatch):
    points = 0
    while True:
        run = tmp_path / str(points)
        run.mkdir()
        save(run, 1)
        reached = interrupted_save(run, monkeypatch, WRITING + ELSE, points + 1, Killed())
        weights, _, state = checkpoint.load(checkpoint.latest(run))
        assert torch.equal(weights["G.weight"], WEIGHTS["G.weight"])
        assert state["step"] == step_of(checkpoint.latest(run))
        assert (run / "checkpoints" / "last" / checkpoint.TRAINER).exists()
        if not reached:
            break
        points += 1
    assert points >= 12


def test_a_disk_that_is_full_at_any_operation_leaves_a_checkpoint_that_loads_and_no_half_one(tmp_path, monkeypatch):
    for at in range(1, 30):
        run = tmp_path / str(at)
        run.mkdir()
        save(run, 1)
        interrupted_save(run, monkeypatch, WRITING, at, OSError(errno.ENOSPC, "No space left on device"))
        checkpoint.load(checkpoint.latest(run))
        assert not [name for name in names(run) if name.startswith(".i2i-tmp-")]


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.TRAINER])
@pytest.mark.parametrize("size", [0, 10, 300])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, name, size):
    folder = save(tmp_path, 1)
    os.truncate(folder / name, size)
    with pytest.raises(UserError, match=str(folder / name)) as error:
        checkpoint.load(folder)
    assert error.value.hint == f"remove '{folder}' to go on from the checkpoint before it"
    assert "\n" not in error.value.message


def test_removing_a_damaged_checkpoint_goes_on_from_the_one_before(new_run, trainer_of):
    run, alone = new_run("pix2pix", "run"), new_run("pix2pix", "alone")
    trainer_of(alone).run()
    trainer_of(run).run()
    last = checkpoint.latest(run)
    os.truncate(last / checkpoint.TRAINER, 100)
    with pytest.raises(UserError, match="step-000000006"):
        trainer_of(run, "train.steps=7").run()
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    trainer_of(run).run()
    assert kills.differing_bytes(run, alone) == {}


def test_a_file_that_is_not_ours_is_refused(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file(WEIGHTS, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not say which method"):
        checkpoint.load_weights(tmp_path / "other.safetensors")


def test_a_training_state_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    torch.save(Evil(), tmp_path / checkpoint.TRAINER)
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        checkpoint.load_trainer(tmp_path)
    assert not (tmp_path / "owned").exists()
