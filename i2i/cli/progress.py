"""What a person sees of images that are translated: the plan, each failure, how far it is, and the sum."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i.cli import messages
from i2i.errors import UserError, counted

if TYPE_CHECKING:
    from i2i.items import Record
    from i2i.naming import Job

EVERY = 10.0
"""Seconds after which a line is due where there is no terminal; one for every 5 % comes too, if it is not sooner than this:"""
PAUSE = 1.0


def show_plan(jobs: Sequence["Job"], out: Path, as_json: bool, beside: Mapping[str, bool]) -> None:
    """`beside`: whether each job needs something of these names beside its input."""
    outputs = [(job, output) for job in jobs for output in job.outputs]
    for job, output in outputs:
        if as_json:
            tree: dict[str, Any] = {
                "input": str(job.input),
                "output": str(output.path),
                "status": "exists" if output.there else "planned",
            }
            tree |= {"lacks": _lacks(job, beside), "notes": job.notes}
            messages.result_json(tree | {"annotations": [str(to) for _, to in output.copies]})
        else:
            lacks = "".join(f" (would fail: it has no {name})" for name in _lacks(job, beside) if not output.there)
            messages.result(f"{job.input} -> {output.path}{' (exists, skipped)' if output.there else lacks}")
            for file, to in output.copies:
                messages.result(f"{file} -> {to} (copied)")
            if output.compare:
                messages.result(f"{job.input} -> {output.compare} (beside its output)")
    planned = [job for job, output in outputs if not output.there]
    failing = sum(bool(_lacks(job, beside)) for job in planned)
    for note in dict.fromkeys(note for job in planned for note in job.notes):
        messages.say(f"note: {note}")
    fail = f", {failing} would fail" if failing else ""
    many = counted(len(outputs), "image")
    messages.say(f"dry run: nothing was written; {len(planned) - failing} of {many} would be translated{fail}")
    if as_json:
        sums = {"total": len(outputs), "planned": len(planned), "skipped": len(outputs) - len(planned), "failing": failing}
        messages.result_json({"summary": {**sums, "output": str(out)}})


def _lacks(job: "Job", beside: Mapping[str, bool]) -> list[str]:
    found = {"mask": job.mask, "instance map": job.instances}
    return [name for name, wanted in beside.items() if wanted and not found[name]]


class Tally:
    """Counts what became of the images and tells: each failure, the progress, the sum. A context manager, for the terminal."""

    def __init__(self, total: int, out: Path, as_json: bool, waits: bool = False):
        """`waits`: only the time between `expecting` and the end of its work is that of work."""
        self.total, self.out, self.as_json = total, out, as_json
        self.counts: Counter[str] = Counter()
        self.notes: dict[str, list[Path]] = {}
        self.annotations: set[Path] = set()
        self.start = self.told = time.monotonic()
        self.worked, self.since = 0.0, None if waits else self.start
        self.told_share = 0.0
        self.bar: Any = None
        self.video: tuple[Path, float, Any] | None = None  # the one at hand, since when, and its line in the bar

    @property
    def finished(self) -> int:
        return self.counts.total()

    def expecting(self, jobs: Sequence["Job"], work: Callable[[Sequence["Job"]], Iterator["Record"]]) -> Iterator["Record"]:
        """The work on more jobs; the total grows by them, and the time of work by what they take."""
        self.total += sum(len(job.outputs) for job in jobs)
        self.since = time.monotonic()
        yield from work(jobs)
        self.worked, self.since = self._working(), None

    def _working(self) -> float:
        """Seconds of work so far."""
        return self.worked + (time.monotonic() - self.since if self.since is not None else 0)

    def failed(self, most: int | None) -> bool:
        """Whether so many have."""
        return most is not None and self.counts["failed"] >= most

    def __enter__(self) -> "Tally":
        if self.total > 1:
            self._start_bar()
        return self

    def _start_bar(self) -> None:
        on_terminal = sys.stderr.isatty() and not (self.as_json and sys.stdout.isatty())
        if on_terminal and not messages.is_quiet():
            self.bar = _bar(self.total)
            self.bar.start()

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()
        self._sum_up()

    def take(self, records: Iterable["Record"]) -> None:
        for record in records:
            self.counts[record.status] += 1
            self.annotations.update(record.annotations)
            for note in record.notes:
                self.notes.setdefault(note, []).append(record.input)
            if self.as_json:
                messages.result_json(record.tree())
            if record.error:
                messages.fail(UserError(record.error, record.hint))
            self._tell()

    def frame(self, video: Path, done: int, count: int | None) -> None:
        """Tell how far a video is."""
        now = time.monotonic()
        if self.video is None or self.video[0] != video or done == 1:
            if not self.bar:
                self._start_bar()
            self.told = now
            self.video = (video, now, self.bar.add_task("", total=count) if self.bar else None)
        _, start, line = self.video
        if self.bar:
            self.bar.update(line, completed=done)
        elif now - self.told >= EVERY:
            self.told = now
            of = f" of {count} ({done / count:.0%})" if count else ""
            messages.say(f"{video}: frame {done}{of}  {(done - 1) / max(now - start, 1e-9):.1f} frames/s")

    def _tell(self) -> None:
        if self.bar:
            for line in self.bar.task_ids[1:]:  # of videos that are done
                self.bar.remove_task(line)
            self.bar.update(self.bar.task_ids[0], completed=self.finished)
            return
        now, share = time.monotonic(), self.finished / self.total
        due = now - self.told >= EVERY or (share - self.told_share >= 0.05 and now - self.told >= PAUSE)
        if due and self.finished < self.total:
            self.told, self.told_share = now, share
            messages.say(f"{self.finished}/{self.total} images ({share:.0%})  {self._pace()}")

    def _pace(self) -> str:
        rate = self.counts["done"] / max(self._working(), 1e-9)
        return f"{rate:.1f} images/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s/image"

    def _sum_up(self) -> None:
        """The sum is told however it ended, so that a log is never without it."""
        seconds = time.monotonic() - self.start
        for note, where in self.notes.items():
            messages.say(f"note: {note} ({counted(len(where), 'image')}, such as '{where[0]}')")
        done, skipped, failed = (self.counts[status] for status in ("done", "skipped", "failed"))
        others = (f", {skipped} skipped" if skipped else "") + (f", {failed} failed" if failed else "")
        others += f", {counted(len(self.annotations), 'annotation')} copied" if self.annotations else ""
        pace = f" ({self._pace()})" if done else ""
        messages.say(f"{done} of {self.total} translated{others} in {seconds:.1f} s{pace}: {self.out}")
        if self.as_json:
            sums = {"total": self.total, "done": done, "skipped": skipped, "failed": failed, "seconds": round(seconds, 3)}
            sums |= {"annotations": len(self.annotations)}
            rate = round(done / max(self._working(), 1e-9), 3)
            messages.result_json({"summary": {**sums, "images_per_s": rate, "output": str(self.out)}})


def _bar(total: int) -> Any:
    """A live bar on stderr; what others print to stderr appears above it, and stdout is left alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = [MofNCompleteColumn(), BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, refresh_per_second=4)
    bar.add_task("", total=total)
    return bar
