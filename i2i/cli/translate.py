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
    from i2i.items import Record
    from i2i.naming import Job

EVERY = 10.0
"""Seconds after which a line is due where there is no terminal; one for every 5 % comes too, if it is not sooner than this:"""
PAUSE = 1.0


class Direction(str, Enum):
    AtoB, BtoA = "AtoB", "BtoA"


class Precision(str, Enum):
    auto, fp32, bf16 = "auto", "fp32", "bf16"


class FileFormat(str, Enum):
    keep, png, jpg, webp, tiff, bmp, gif, mp4 = "keep", "png", "jpg", "webp", "tiff", "bmp", "gif", "mp4"


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
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many outputs of each image, NAME_0.png to NAME_N-1.png, each in a drawn style.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**63 - 1,
            help="Of the drawn styles; without --samples one output in one of them. [default: 0]",
            show_default=False,
        ),
    ] = None,
    same_style: Annotated[
        bool, typer.Option("--same-style", help="All images get the same drawn styles, not each its own.")
    ] = False,
    style_from: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Take the style of an image of the output side, for all.", show_default=False),
    ] = None,
    interpolate: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="One output with so many frames from each of the --samples to the next: side by side, or --format gif or mp4.",
            show_default=False,
        ),
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The instance maps, under the names of the label maps.", show_default=False),
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each output on stdout, then a summary.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which file would become which, then stop.")] = False,
) -> None:
    """Translate images with a trained model. Every image keeps its size; inputs are never changed.

    Examples:

        i2i translate runs/cyclegan-horse2zebra-001 photos/ -o zebras/

        i2i translate model.safetensors in.png -o out.png

        i2i translate runs/my-run 'scans/**/*.tif' -o done/ --format keep --skip-existing

        i2i translate runs/my-run zebras/ -o horses/ --direction BtoA --json > log.jsonl

        i2i translate runs/bicyclegan-edges2shoes-001 edges/ -o shoes/ --samples 5 --seed 7

        i2i translate runs/bicyclegan-edges2shoes-001 edges/ -o shoes/ --style-from boot.jpg

        i2i translate runs/bicyclegan-edges2shoes-001 a.png -o a.gif --interpolate 8 --samples 4

        i2i translate runs/pix2pixhd-cityscapes-001 labels/ -o photos/ --instances inst/

    Folders are searched to the bottom and keep their tree. Of a refiner's images, files of the same name that are no images are
    copied along. Exit status: 0 all done, 3 some images failed, 4 none was done.
    """
    if overwrite and skip_existing:
        raise UserError("--overwrite and --skip-existing contradict each other", "give one of them")
    from i2i.config import CONFIG
    from i2i.translate import Translator

    way: Any = direction and direction.value
    translator = Translator.open(model, device, precision.value)
    styles = translator.styles(
        samples=samples, seed=seed, same_style=same_style, style_from=style_from, interpolate=interpolate
    )
    jobs = translator.plan(
        inputs,
        out,
        direction=way,
        format=format.value if format else None,  # type: ignore[arg-type]
        existing="overwrite" if overwrite else "skip" if skip_existing else "refuse",
        styles=styles,
        instances=instances,
    )
    if dry_run:
        _show(jobs, as_json)
        return

    from i2i.training.signals import Stop

    tally = _Tally(sum(len(job.outputs) for job in jobs), out, as_json)
    with Stop() as stop, tally:
        how: dict[str, Any] = {"direction": way, "styles": styles, "quality": quality, "batch": batch}
        tally.take(translator.translate_files(jobs, **how, stopped=lambda: stop.signal != 0))
    if stop.signal and tally.finished < tally.total:
        raise Interrupted(
            f"stopped by a signal after {tally.finished} of {tally.total} images; finished ones are whole",
            "the same command with --skip-existing goes on",
            signal=stop.signal,
        )
    if tally.counts["failed"] == tally.total:
        raise NothingDone("no image could be translated" if len(jobs) > 1 else "the image could not be translated")
    if tally.counts["failed"]:
        raise typer.Exit(3)
    if (model / CONFIG).is_file() and not as_json:  # a run, not a bare model
        messages.next_command(f"i2i show {shlex.quote(str(model))}")


def _show(jobs: Sequence["Job"], as_json: bool) -> None:
    outputs = [(job, output) for job in jobs for output in job.outputs]
    for job, output in outputs:
        if as_json:
            tree = {"input": str(job.input), "output": str(output.path), "status": "exists" if output.there else "planned"}
            messages.result_json(tree | {"annotations": [str(to) for _, to in output.copies]})
        else:
            messages.result(f"{job.input} -> {output.path}{' (exists, skipped)' if output.there else ''}")
            for file, to in output.copies:
                messages.result(f"{file} -> {to} (copied)")
    planned = sum(not output.there for _, output in outputs)
    messages.say(f"dry run: nothing was written; {planned} of {len(outputs)} images would be translated")


class _Tally:
    """Counts what became of the images and tells: each failure, the progress, the sum. A context manager, for the terminal."""

    def __init__(self, total: int, out: Path, as_json: bool):
        self.total, self.out, self.as_json = total, out, as_json
        self.counts: Counter[str] = Counter()
        self.notes: dict[str, list[Path]] = {}
        self.annotations: set[Path] = set()
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
            self.annotations.update(record.annotations)
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
        others += f", {len(self.annotations)} annotations copied" if self.annotations else ""
        pace = f" ({self._pace()})" if done else ""
        messages.say(f"{done} of {self.total} translated{others} in {seconds:.1f} s{pace}: {self.out}")
        if self.as_json:
            sums = {"total": self.total, "done": done, "skipped": skipped, "failed": failed, "seconds": round(seconds, 3)}
            sums |= {"annotations": len(self.annotations)}
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
