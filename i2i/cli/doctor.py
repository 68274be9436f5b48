"""`i2i doctor`: whether the installation and the machine are sound."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from i2i.cli import messages
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.doctor import Row


def doctor(
    device: Annotated[str, typer.Option(help="Where a training step is tried: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON document.")] = False,
) -> None:
    """Look at versions, devices, codecs, the weights of feature networks, disk and memory, and try a training step.

    Examples:

        i2i doctor

        i2i doctor --device cuda:1

        i2i doctor --json > report.json

    What is wrong comes with a remedy, and again at the end. The exit status is 0, or 2 where something is broken.
    """
    try:
        from i2i.doctor import examine
    except (ImportError, OSError) as error:  # as a package whose libraries are missing says it
        hint = "pip install --force-reinstall with the name of that package, in the environment of i2i"
        raise UserError(f"something that i2i needs cannot be imported: {error}", hint) from error

    rows: list[Row] = []
    for row in examine(device):
        rows.append(row)
        if not as_json:
            if len(rows) == 1 or rows[-2].group != row.group:
                messages.result(row.group)
            messages.result(_line(row))
    broken = [row for row in rows if row.severity == "broken"]
    if as_json:
        messages.result_json({"sound": not broken, "rows": [asdict(row) for row in rows]})
    for row in broken:
        messages.say(f"broken: {row.name}: {row.value}" + (f"; {row.remedy}" if row.remedy else ""))
    if broken:
        messages.next_command("i2i doctor   # once that is mended")
        raise typer.Exit(2)
    messages.next_command("i2i train cyclegan --data scenes --preset quick")


def _line(row: "Row") -> str:
    mark = {"ok": "  ", "note": "- ", "broken": "! "}[row.severity]
    return f"{mark}{row.name:<20}{row.value}" + (f" -> {row.remedy}" if row.remedy else "")
