"""`i2i plan`: from data to settings."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.plan import Plan


def plan(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A folder, a manifest, A,B (two folders), or a known name.", show_default=False),
    ],
    method: Annotated[str | None, typer.Option(help="Plan for this method. [default: the one that suits the data]")] = None,
    budget: Annotated[
        str | None, typer.Option(help="How long the run may take, such as 90m or 1d12h. [default: 2h on a CPU, 12h on a GPU]")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="AtoB or BtoA: which side is the input. [default: by what they show]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the settings there. [default: stdout]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print all that was found and decided as one JSON document.")] = False,
) -> None:
    """Look at data, choose a method and settings that suit it and this machine, and write them down with the reason of each.

    Examples:

        i2i plan facades/ -o facades.yaml

        i2i plan photos/,paintings/ --budget 8h -o paintings.yaml

        i2i plan streets/ --method crn > streets.yaml

    Every image is looked at. Then a few steps are trained in a temporary place, with the largest networks first, until some fit
    the budget and the memory: so times and gigabytes are those of this machine.
    """
    from i2i.methods import chosen

    if method:
        chosen(method)  # before torch loads
    if direction not in (None, "AtoB", "BtoA"):
        raise UserError(f"--direction is AtoB or BtoA, not '{direction}'", "--direction BtoA makes side B the input")
    if out and out.exists():
        raise UserError(f"'{out}' exists", "give another name with -o")
    if out and not out.absolute().parent.is_dir():
        raise UserError(f"there is no folder '{out.parent}'", "make it, or give another name with -o")
    from i2i import atomic
    from i2i.plan import plan as planned

    made = planned(data, method=method, direction=direction, budget=budget, device=device, say=messages.say)
    if out:
        atomic.write_text(out, made.text())
        for line in made.summary():
            messages.say(line)
    if as_json:
        messages.result_json(_tree(made))
    elif out:
        messages.result(str(out))
    else:
        messages.result(made.text().rstrip("\n"))
    file = quote(str(out)) if out else "FILE"
    messages.next_command(f"i2i train {made.method} --config {file}" + ("" if out else "   # once the settings are in a FILE"))


def _tree(made: "Plan") -> dict[str, Any]:
    facts = asdict(made.facts) | {"labels": str(made.facts.labels) if made.facts.labels else None}
    return {
        "data": made.source,
        "method": made.method,
        "why": made.why,
        "others": made.others,
        "facts": facts,
        "findings": [asdict(finding) for finding in made.findings],
        "device": made.device,
        "precision": made.precision,
        "budget": made.budget,
        "tries": [asdict(tried) for tried in made.tries],
        "steps": made.best.steps,
        "seconds": made.best.seconds,
        "memory": made.best.memory,
        "settings": {key: asdict(choice) for key, choice in made.choices.items()},
        "concerns": made.concerns,
        "config": made.text(),
    }
