"""`i2i translate`: what a person sees while images are translated."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages
from i2i.errors import Interrupted, NothingDone, UserError

if TYPE_CHECKING:
    from i2i.naming import Job
    from i2i.translate import Record

EVERY = 10.0
"""Seconds after which a line is due where there is no terminal; one for every 5 % comes too, if it is not sooner than this:"""
PAUSE = 1.0


class Direction(str, Enum):
    AtoB, BtoA = "AtoB", "BtoA"


class Precision(str, Enum):
    auto, fp32, bf16 = "auto", "fp32", "bf16"


class FileFormat(str, Enum):
    keep, png, jpg, webp, tiff, bmp = "keep", "png", "jpg", "webp", "tiff", "bmp"


def translate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run, a checkpoint folder, or a .safetensors file.", show_default=False)
    ],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Images, folders, 'patterns/**/*.png'.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder; for one image also a file name.", show_default=False)],
    direction: Annotated[
        Direction | None, typer.Option(help="The way to go. [default: as trained]", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="auto: bf16 for 8-bit images where it is faster.")] = Precision.auto,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images at once. [default: by device and model]", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist, do the rest.")] = False,
    format: Annotated[
        FileFormat | None,
        typer.Option(
            help="Kind of file to write. [default: png, or tiff where PNG cannot hold the values]", show_default=False
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP. [default: 95]", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each image on stdout, then a summary.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which file would become which, then stop.")] = False,
) -> None:
    """Translate images with a trained model. Every image keeps its size; inputs are never changed.

    Examples:

        i2i translate runs/cyclegan-horse2zebra-001 photos/ -o zebras/

        i2i translate model.safetensors in.png -o out.png

        i2i translate runs/my-run 'scans/**/*.tif' -o done/ --format keep --skip-existing

        i2i translate runs/my-run zebras/ -o horses/ --direction BtoA --json > log.jsonl

    Folders are searched to the bottom and keep their tree. Exit status: 0 all done, 3 some images failed, 4 none was done.
    """
    if overwrite and skip_existing:
        raise UserError("--overwrite and --skip-existing contradict each other", "give one of them")
    from i2i.config import CONFIG
    from i2i.translate import Translator

    way: Any = direction and direction.value
    translator = Translator.open(model, device, precision.value)
    jobs = translator.plan(
        inputs,
        out,
        direction=way,
        format=format.value if format else None,  # type: ignore[arg-type]
        existing="overwrite" if overwrite else "skip" if skip_existing else "refuse",
    )
    if dry_run:
        _show(jobs, as_json)
        return

    from i2i.training.signals import Stop

    tally = _Tally(len(jobs), out, as_json)
    with Stop() as stop, tally:
        tally.take(
            translator.translate_files(jobs, direction=way, quality=quality, batch=batch, stopped=lambda: stop.signal != 0)
        )
    if stop.signal and tally.finished < len(jobs):
        raise Interrupted(
            f"stopped by a signal after {tally.finished} of {len(jobs)} images; finished ones are whole",
            "the same command with --skip-existing goes on",
            signal=stop.signal,
        )
    if tally.counts["failed"] == len(jobs):
        raise NothingDone("no image could be translated" if len(jobs) > 1 else "the image could not be translated")
    if tally.counts["failed"]:
        raise typer.Exit(3)
    if (model / CONFIG).is_file() and not as_json:  # a run, not a bare model
        messages.next_command(f"i2i show {shlex.quote(str(model))}")


def _show(jobs: Sequence["Job"], as_json: bool) -> None:
    for job in jobs:
        if as_json:
            status = "exists" if job.skip else "planned"
            messages.result_json({"input": str(job.input), "output": str(job.output), "status": status})
        else:
            messages.result(f"{job.input} -> {job.output}{' (exists, skipped)' if job.skip else ''}")
    messages.say(f"dry run: nothing was written; {sum(not job.skip for job in jobs)} of {len(jobs)} images would be translated")


class _Tally:
    """Counts what became of the images and tells: each failure, the progress, the sum. A context manager, for the terminal."""

    def __init__(self, total: int, out: Path, as_json: bool):
        self.total, self.out, self.as_json = total, out, as_json
        self.counts: Counter[str] = Counter()
        self.notes: dict[str, list[Path]] = {}
        self.start = self.told = time.monotonic()
        self.told_share = 0.0
        self.bar: Any = None

    @property
    def finished(self) -> int:
        return self.counts.total()

    def __enter__(self) -> "_Tally":
        on_terminal = sys.stderr.isatty() and not (self.as_json and sys.stdout.isatty())
        if on_terminal and not messages.is_quiet() and self.total > 1:
            self.bar = _bar(self.total)
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()
        self._sum_up()

    def take(self, records: Iterable["Record"]) -> None:
        for record in records:
            self.counts[record.status] += 1
            for note in record.notes:
                self.notes.setdefault(note, []).append(record.input)
            if self.as_json:
                messages.result_json(record.tree())
            if record.error:
                messages.fail(UserError(record.error, record.hint))
            self._tell()

    def _tell(self) -> None:
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=self.finished)
            return
        now, share = time.monotonic(), self.finished / self.total
        due = now - self.told >= EVERY or (share - self.told_share >= 0.05 and now - self.told >= PAUSE)
        if due and self.finished < self.total:
            self.told, self.told_share = now, share
            messages.say(f"{self.finished}/{self.total} images ({share:.0%})  {self._pace()}")

    def _pace(self) -> str:
        rate = self.counts["done"] / max(time.monotonic() - self.start, 1e-9)
        return f"{rate:.1f} images/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s/image"

    def _sum_up(self) -> None:
        """The sum is told however it ended, so that a log is never without it."""
        seconds = time.monotonic() - self.start
        for note, where in self.notes.items():
            messages.say(f"note: {note} ({'1 image' if len(where) == 1 else f'{len(where)} images'}, such as '{where[0]}')")
        done, skipped, failed = (self.counts[status] for status in ("done", "skipped", "failed"))
        others = (f", {skipped} skipped" if skipped else "") + (f", {failed} failed" if failed else "")
        pace = f" ({self._pace()})" if done else ""
        messages.say(f"{done} of {self.total} translated{others} in {seconds:.1f} s{pace}: {self.out}")
        if self.as_json:
            sums = {"total": self.total, "done": done, "skipped": skipped, "failed": failed, "seconds": round(seconds, 3)}
            rate = round(done / max(seconds, 1e-9), 3)
            messages.result_json({"summary": {**sums, "images_per_s": rate, "output": str(self.out)}})


def _bar(total: int) -> Any:
    """A live bar on stderr; what others print to stderr appears above it, and stdout is left alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = [MofNCompleteColumn(), BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn()]
    bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, refresh_per_second=4)
    bar.add_task("", total=total)
    return bar
