"""`i2i data`: check a data set, list and fetch the known ones, draw scenes."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages

if TYPE_CHECKING:
    from i2i.config import DataSettings
    from i2i.data.check import Report
    from i2i.data.download import Progress
    from i2i.data.findings import Finding

app = typer.Typer(
    help="Check your images, fetch known data sets, draw scenes.", no_args_is_help=True, rich_markup_mode="markdown"
)


@app.command()
def check(
    data: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A folder, a manifest (.csv, .jsonl), or A,B (two folders).", show_default=False),
    ],
    method: Annotated[
        str | None, typer.Option(help="Judge the data for this method; without it, by how the names match.")
    ] = None,
    layout: Annotated[str, typer.Option(help="auto, labels, two-folders, side-by-side or manifest.")] = "auto",
    size: Annotated[
        str | None, typer.Option(help="The crops to train on, in pixels: the side of a square, or WIDTHxHEIGHT.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the data, as in training, such as data.classes=35."),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Read headers only: damage and copies stay unseen.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> None:
    """Say what a data set is, and what in it would hurt training. The exit status is 2 where training could not start.

    Examples:

        i2i data check facades/

        i2i data check photos/,paintings/ --method cyclegan --size 128

        i2i data check scans/ --set data.labels=true --set data.palette=colours.txt
    """
    from i2i.data.check import check as checked
    from i2i.methods import chosen

    kind: Any = chosen(method).data if method else None
    settings, sized = _settings(size, assignments or [])
    report = checked(
        data,
        layout,
        kind=kind,
        size=settings.crop if sized else None,
        thorough=not fast,
        settings=settings,
        on_progress=_progress("checked", "files"),
    )
    messages.result_json(_tree(report)) if json else _print(report)
    if not report.trainable:
        messages.next_command(f"i2i data check {shlex.quote(data)}   # once the errors are mended")
        raise typer.Exit(2)
    messages.next_command(_training(report, method, layout, size, assignments or []))


@app.command("list")
def list_sets(
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the data sets that are known by name: `--data NAME` fetches them.

    Example:

        i2i data list
    """
    from i2i.data.catalogue import BUILT_IN, ENTRIES
    from i2i.data.locate import home

    folder = home()
    rows = [
        {"name": BUILT_IN, "layout": "both", "A": None, "B": None, "images": "as many as you like", "size": None,
         "terms": "drawn by i2i", "here": any(folder.glob(f"{BUILT_IN}-*"))}
    ]  # fmt: skip
    for entry in ENTRIES:
        a, b = entry.sides or (None, None)
        rows.append({"name": entry.name, "layout": entry.layout, "A": a, "B": b, "images": entry.images, "size": entry.size,
                     "terms": entry.terms, "here": (folder / entry.name).is_dir()})  # fmt: skip
    if json:
        messages.result_json(rows)
    else:
        _table(list(rows[0]), [["yes" if v is True else str(v or "") for v in row.values()] for row in rows])
        messages.say(f"fetched sets lie in {folder}; where nothing is said about terms, ask the owners of the images")
    messages.next_command("i2i data get horse2zebra")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name of `i2i data list`.", show_default=False)],
    into: Annotated[
        Path | None, typer.Option(help="Where data sets are kept. [default: $I2I_DATA, else the user's cache]")
    ] = None,
) -> None:
    """Fetch a known data set, going on where an earlier try was cut off, and print its folder.

    Examples:

        i2i data get horse2zebra

        i2i data get facades --into datasets/

    Where I2I_MIRROR is the address of a folder on a web server that holds the archives, they come from there.
    """
    from i2i.data import catalogue
    from i2i.data.locate import home

    entry = catalogue.find(name)
    folder = catalogue.fetch(name, into or home(), _progress("fetched", "MB", 1e6))
    messages.result(str(folder))
    method = "pix2pix" if entry.layout == "paired" else "cyclegan"
    direction = " --direction BtoA" if entry.direction == "BtoA" else ""
    messages.next_command(f"i2i train {method} --data {name if into is None else shlex.quote(str(folder))}{direction}")


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="scenes", help="What to draw; `scenes` is what there is.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.", show_default=False)],
    layout: Annotated[str, typer.Option(help="paired, unpaired, labels or simreal.")] = "paired",
    count: Annotated[int, typer.Option(help="Training images; a tenth as many are held out.")] = 200,
    size: Annotated[int, typer.Option(help="Side of the images, in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 0,
) -> None:
    """Draw the built-in data set: small scenes, labelled, in summer and winter, as photo and as simulation.

    Example:

        i2i data make scenes my-scenes --layout unpaired --count 500 --size 256
    """
    from i2i.data import scenes
    from i2i.errors import UserError

    if name != "scenes":
        raise UserError(f"i2i cannot draw '{name}'", "i2i data make scenes DIR")
    progress = _progress("drawn", "scenes")
    total = scenes.scenes_needed(layout, count) if layout in scenes.LAYOUTS else 0
    scenes.make(folder, layout, count, size, seed, lambda done: progress(done, total))
    messages.result(str(folder))
    method = {"unpaired": "cyclegan", "labels": "pix2pixhd", "simreal": "simgan"}.get(layout, "pix2pix")
    messages.next_command(f"i2i train {method} --data {shlex.quote(str(folder))} --preset quick")


def _settings(size: str | None, assignments: list[str]) -> tuple["DataSettings", bool]:
    """The settings of data that the options give, checked as for training, and whether the size is among these."""
    from i2i.config import Layer, from_assignments, resolve
    from i2i.settings import Settings

    given = [from_assignments(assignments), *([Layer("--size", {"data": {"size": size}})] if size else [])]
    config = resolve("pix2pix", Settings, given)
    return config.data, config.sources["data.size"] != "default"


def _training(report: "Report", method: str | None, layout: str, size: str | None, assignments: Sequence[str]) -> str:
    """The command that trains on checked data."""
    from i2i.data.check import DEFAULT_CROP, SMALLEST_CROP

    usual = {"labels": "pix2pixhd"}.get(report.layout or "", "pix2pix" if report.kind == "paired" else "cyclegan")
    method = method or ("simgan" if report.synthetic else usual)
    crop = size or str(report.crop or SMALLEST_CROP)
    command = f"i2i train {method} --data {shlex.quote(report.data)}"
    if layout != "auto":
        command += f" --set data.layout={layout}"
    command += "".join(f" --set {shlex.quote(assignment)}" for assignment in assignments)
    if crop != str(DEFAULT_CROP):
        command += f" --size {crop}"
        if method == "pix2pix" and crop.isdecimal() and (side := int(crop)) & (side - 1) == 0:
            command += f" --set model.generator.depth={side.bit_length() - 1}"  # its U-Net halves the image down to one pixel
    return command


def _tree(report: "Report") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(report), "trainable": report.trainable}


def _print(report: "Report") -> None:
    if report.layout:
        turned = "" if report.layout == "labels" else " (B with --direction BtoA)"
        judged = {"paired": f"pairs, A is the input{turned}", "unpaired": "unpaired images", None: ""}[report.kind]
        messages.result(f"{report.said}; judged as {judged}")
        rows = [[s.split, s.side, str(s.images), s.sizes, s.values] for s in report.sides]
        _table(["split", "side", "images", "size", "values"], rows)
    for finding in report.findings:
        _print_finding(finding, report.data)
    if not report.findings:
        messages.result("nothing was found that would hurt training")


def _print_finding(finding: "Finding", root: str) -> None:
    messages.result(f"{finding.severity}: {finding.what}")
    if finding.files:
        more = finding.count - len(finding.files)
        names = [name.removeprefix(root.rstrip("/") + "/") for name in finding.files]
        messages.result(f"    {', '.join(names)}" + (f" and {more} more" if more else ""))
    if finding.do:
        messages.result(f"    {finding.do}")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere plain lines in columns."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            messages.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _progress(verb: str, unit: str, scale: float = 1) -> "Progress":
    """Tells how far something is, on stderr: in place on a terminal, elsewhere by a line now and then."""
    from i2i.data.locate import amount, paced

    if messages.is_quiet() or not sys.stderr.isatty():
        return paced(messages.say, verb, unit, scale)
    told = time.monotonic()

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 0.1 or done == total:
            told = now
            end = "\r\x1b[K" if done == total else "\x1b[K"
            print(f"\r{amount(done, total, verb, unit, scale)}", end=end, file=sys.stderr, flush=True)

    return tell
