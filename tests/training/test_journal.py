"""The log of a run: right means, one line for each step that is due, readable whatever happened."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from i2i.errors import Diverged, OutOfResources
from i2i.training import folder, journal
from i2i.training.journal import Journal


def line(log: Journal, step: int, **terms: float):
    log.add({name: torch.tensor(value) for name, value in terms.items()})
    return log.line({"step": step}, {"G": 0.5})


def events(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / journal.TENSORBOARD))
    found.Reload()
    return found


def test_a_line_holds_the_mean_of_each_loss_since_the_line_before(tmp_path):
    log = Journal(tmp_path)
    log.add({"a": torch.tensor(1.0), "b": torch.tensor(10.0)})
    log.add({"a": torch.tensor(2.0), "b": torch.tensor(20.0)})
    assert log.line({"step": 2, "epoch": 0.5}, {"G": 0.1}) == {"a": 1.5, "b": 15.0}
    line(log, 3, a=7.0)
    rows = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 2, "epoch": 0.5, "a": 1.5, "b": 15.0, "lr/G": 0.1}, {"step": 3, "a": 7.0, "lr/G": 0.5}]


def test_sums_that_were_saved_go_on_after_a_resume(tmp_path):
    log, resumed = Journal(tmp_path), Journal(None)
    log.add({"a": torch.tensor(1.0)})
    resumed.load_state_dict(log.state_dict(), torch.device("cpu"))
    resumed.add({"a": torch.tensor(4.0)})
    assert resumed.means() == {"a": 2.5}


def test_a_loss_that_is_not_finite_is_named_and_not_written(tmp_path):
    log = Journal(tmp_path)
    with pytest.raises(Diverged, match="G/l1 is nan"):
        line(log, 1, **{"G/gan": 1.0, "G/l1": float("nan")})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_rewinding_forgets_later_lines_and_one_that_was_cut_short(tmp_path):
    log = Journal(tmp_path)
    for step in (1, 2, 3):
        line(log, step, a=float(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "a"')
    Journal(tmp_path).rewind(2)
    assert [row["step"] for row in folder.log(tmp_path)] == [1, 2]


def test_a_log_with_damaged_bytes_is_read_up_to_them(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\0\0\xff\xfe')
    assert folder.log(tmp_path) == [{"step": 1}]


def test_a_rank_that_is_not_the_first_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Journal(None)
    assert line(log, 1, a=1.0) == {"a": 1.0}
    log.rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_losses_rates_and_samples(tmp_path):
    log = Journal(tmp_path)
    line(log, 1, a=1.0)
    line(log, 2, a=3.0)
    log.sheet(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy(), 2)
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("a")] == [(1, 1.0), (2, 3.0)]
    assert [event.value for event in found.Scalars("lr/G")] == [0.5, 0.5]
    assert [(image.step, image.width) for image in found.Images("samples")] == [(2, 8)]


def test_tensorboard_forgets_the_steps_that_a_resumed_run_writes_again(tmp_path, monkeypatch):
    first = Journal(tmp_path)
    for step in (1, 2, 3):
        line(first, step, a=1.0)
    monkeypatch.setattr(journal.time, "time", lambda: 9e9)  # a file of its own, and a later one
    second = Journal(tmp_path)
    second.rewind(1)
    for step in (2, 3):
        line(second, step, a=2.0)
    assert len(list((tmp_path / journal.TENSORBOARD).iterdir())) == 2
    assert [(event.step, event.value) for event in events(tmp_path).Scalars("a")] == [(1, 1.0), (2, 2.0), (3, 2.0)]


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.out"])
def test_a_full_disk_is_said_wherever_the_log_is_written(tmp_path, monkeypatch, name):
    real = Path.open

    def full(path, *arguments, **options):
        if name in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutOfResources, match=name):
        line(Journal(tmp_path), 1, a=1.0)
