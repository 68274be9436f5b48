"""`i2i data`: check a folder, list and fetch the known sets, draw scenes."""

import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages

if TYPE_CHECKING:
    from i2i.data.check import Report

app = typer.Typer(help="Check your images, fetch known data sets, draw scenes.", no_args_is_help=True, rich_markup_mode="markdown")


class ScenesLayout(str, Enum):
    paired = "paired"
    unpaired = "unpaired"
    labels = "labels"
    simreal = "simreal"


@app.command("check", epilog="Examples: i2i data check photos/ --method pix2pix · i2i data check A_FOLDER,B_FOLDER --size 128")
def check(
    data: Annotated[str, typer.Argument(metavar="DIR", help="A folder, a .csv or .jsonl manifest, or FOLDER_A,FOLDER_B.")],
    method: Annotated[str | None, typer.Option(help="Judge the data for this method; without it, by how the names match.")] = None,
    layout: Annotated[str, typer.Option(help="auto, side-by-side, two-folders or manifest.")] = "auto",
    size: Annotated[int | None, typer.Option(min=1, help="The crop that you mean to train on, in pixels.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Read headers only; damaged pixels and copies stay unseen.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> None:
    """Say what a data set is and what in it would hurt training."""
    from i2i.data.check import check as checked
    from i2i.methods import chosen

    kind: Any = chosen(method).data if method else None
    report = checked(data, layout, kind=kind, size=size, thorough=not fast, on_progress=_counter("checked"))
    raise typer.Exit(0 if report.trainable else 2)
