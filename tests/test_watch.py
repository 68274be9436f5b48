"""Folders that fill up, round by round, without waiting."""

from pathlib import Path

from i2i import watch
from i2i.errors import NothingDone
from i2i.items import Record
from i2i.naming import Job, Output


def done_by_round(monkeypatch, folder: Path, changes: list) -> list[list[str]]:
    """What is worked on in each round, where `changes` are made one after the other at its end."""
    rounds: list[list[str]] = []

    def plan() -> list[Job]:
        rounds.append([])
        mask = folder / "mask.tif"
        found = [
            Job(f, Path(f.name), (Output(folder / f"{f.name}.out"),), mask=mask if mask.exists() else None)
            for f in sorted(folder.glob("*.png"))
        ]
        if not found:
            raise NothingDone("no image")
        return found

    def work(jobs):
        for job in jobs:
            rounds[-1].append(job.input.stem)
            yield Record(job.input, job.outputs[0].path, "failed")

    waiting = iter(changes)
    monkeypatch.setattr(watch, "pause", lambda stopped: next(waiting)())
    list(watch.watched(plan, work, lambda: len(rounds) > len(changes) - 1))
    return rounds


def test_a_file_is_taken_once_it_no_longer_grows_and_again_when_it_has_changed(monkeypatch, tmp_path):
    file = tmp_path / "a.png"
    nothing = lambda: None  # noqa: E731
    changes = [
        lambda: file.write_bytes(b"1"),
        lambda: file.write_bytes(b"12"),
        nothing,
        nothing,
        nothing,
        lambda: file.write_bytes(b"123"),
        nothing,
        nothing,
    ]
    assert done_by_round(monkeypatch, tmp_path, changes) == [[], [], [], ["a"], [], [], [], ["a"]]


def test_a_mask_that_comes_after_its_image_is_waited_for_like_an_image(monkeypatch, tmp_path):
    mask, nothing = tmp_path / "mask.tif", lambda: None
    (tmp_path / "a.png").touch()
    changes = [nothing, lambda: mask.write_bytes(b"1"), lambda: mask.write_bytes(b"12"), nothing, nothing]
    assert done_by_round(monkeypatch, tmp_path, changes) == [[], ["a"], [], [], ["a"]]


def test_a_file_that_goes_away_is_forgotten(monkeypatch, tmp_path):
    file = tmp_path / "a.png"
    gone = tmp_path / "b.png"
    gone.symlink_to("nowhere")
    file.touch()
    assert done_by_round(monkeypatch, tmp_path, [file.unlink, lambda: None, lambda: None]) == [[], [], []]


def test_the_pause_ends_at_once_when_the_work_does(monkeypatch):
    slept = []
    monkeypatch.setattr(watch.time, "sleep", slept.append)
    watch.pause(lambda: len(slept) == 2)
    assert len(slept) == 2
