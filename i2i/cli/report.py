"""`i2i report`: the page of a run."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from i2i.cli import messages


def report(
    place: Annotated[
        Path, typer.Argument(metavar="RUN|DIR", help="A run, or a folder that holds runs.", show_default=False)
    ] = Path("runs"),
) -> None:
    """Write report.html into a run: its pictures over time, which checkpoint to keep, curves, settings, commands.

    One file, which opens in any browser and asks no network. In a folder of runs each gets its page, and the folder one that
    lists them.

    Examples:

        i2i report runs/cyclegan-horse2zebra-001

        i2i report runs/
    """
    from i2i.config import CONFIG
    from i2i.report import page

    is_run = (place / CONFIG).is_file()
    written = page.write(place) if is_run else page.write_all(place, messages.say)
    messages.result(str(written))
    messages.next_command(f"i2i show {quote(str(place))}" if is_run else f"i2i report {quote(str(place))}/RUN")
