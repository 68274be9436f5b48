"""Folders that are still being filled: what is new there and whole is translated, again and again."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from i2i.errors import NothingDone
from i2i.items import Record
from i2i.naming import Job

PAUSE = 1.0
"""Seconds from one look at the folders to the next. A file that has not changed in between is taken to be whole."""

Stamp = tuple[tuple[int, int], ...]


def watched(
    plan: Callable[[], Sequence[Job]], work: Callable[[Sequence[Job]], Iterator[Record]], stopped: Callable[[], bool]
) -> Iterator[Record]:
    """Ask for a `plan` and do the part of it that is new, until `stopped` says so.

    What failed is tried again once it changes, or what lies beside it, such as a mask that comes later. The plan skips what
    exists. One that finds no image yet is no error.
    """
    before: dict[Path, Stamp | None] = {}
    tried: dict[Path, Stamp | None] = {}
    while not stopped():
        jobs = [job for job in _planned(plan) if not job.skip]
        stamps = {job.input: _stamp(job) for job in jobs}
        whole = [job for job in jobs if stamps[job.input] and before.get(job.input) == stamps[job.input]]
        new = [job for job in whole if tried.get(job.input) != stamps[job.input]]
        if new:
            yield from work(new)
        tried |= {job.input: stamps[job.input] for job in new}
        before = stamps
        pause(stopped)


def pause(stopped: Callable[[], bool]) -> None:
    """Wait, but not for long once there is nothing to wait for."""
    end = time.monotonic() + PAUSE
    while not stopped() and time.monotonic() < end:
        time.sleep(PAUSE / 20)


def _planned(plan: Callable[[], Sequence[Job]]) -> Sequence[Job]:
    try:
        return plan()
    except NothingDone:
        return []


def _stamp(job: Job) -> Stamp | None:
    """What changes while the files of a job are being written; None where one has gone."""
    try:
        found = [path.stat() for path in (job.input, job.instances, job.mask) if path]
    except OSError:
        return None
    return tuple((file.st_size, file.st_mtime_ns) for file in found)
