"""`i2i compare`: runs side by side."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages
from i2i.cli.screen import clock
from i2i.cli.tables import blocks, short

if TYPE_CHECKING:
    from i2i.compare import Compared

LONGEST = 32
"""Characters of a value; more are cut."""
Line = tuple[str, list[str]]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs, or folders that hold runs.", show_default=False)],
    sort: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="The run with the best validation of it comes first.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Put runs side by side: the settings in which they differ, their validations, and what `i2i evaluate` found.

    Examples:

        i2i compare runs/pix2pix-facades-001 runs/pix2pix-facades-002

        i2i compare runs/ --sort ssim

        i2i compare runs/ --json > runs.json

    A * marks the best of a row among runs that were measured on the same images. Runs may be in training.
    """
    from i2i.compare import compare, found
    from i2i.metrics import chosen

    by = chosen([sort], "--sort")[0] if sort is not None else None
    compared = compare(found(runs, messages.say), by)
    if as_json:
        messages.result_json(asdict(compared))
        return
    lines = list(_lines(compared))
    head = ["", *_names([run["run"] for run in compared.runs])]
    for line in blocks([head, *([name, *cells] for name, cells in lines)]):
        messages.result(line)
    for note in _notes(compared, starred=any(cell.endswith("*") for _, cells in lines for cell in cells)):
        messages.say(note)
    messages.next_command(_next(compared))


def _lines(compared: "Compared") -> Iterator[Line]:
    runs = compared.runs
    yield "state", [run["state"] for run in runs]
    yield "method", [run["method"] for run in runs]
    yield "data", _names([str(run["data"]) for run in runs])
    yield "step", [f"{run['step']}" + (f" of {run['steps']}" if run["steps"] else "") for run in runs]
    yield "epoch", [short(run["epoch"]) for run in runs]
    yield "time", [clock(run["seconds"]) for run in runs]
    yield "weights", [_amount(run["weights"]) for run in runs]
    yield from ((key, [_cut(value) for value in values]) for key, values in compared.settings.items())
    yield from _validations(compared)
    yield from _evaluations(compared)


def _validations(compared: "Compared") -> Iterator[Line]:
    """The best and the last value of each metric that runs share."""
    from i2i.metrics import METRICS

    each = [(run["validation"] or {}).get("metrics", {}) for run in compared.runs]
    shared = [name for name in METRICS if sum(name in one for one in each) >= min(2, len(each))]
    if len(set(compared.exams)) > 1 and shared:
        yield "validated on", [f"set {exam}" for exam in compared.exams]
    for name in shared:
        for what in ("best", "last"):
            found = [one[name][what] if name in one else None for one in each]
            cells = _marked(name, [one and one["value"] for one in found], compared.exams)
            told = zip(found, cells, strict=True)
            yield f"{what} {name}", [f"{cell} at {one['step']}{mark}" if one else "" for one, (cell, mark) in told]


def _evaluations(compared: "Compared") -> Iterator[Line]:
    each = [{number["name"]: number for number in tree.get("metrics", [])} for tree in compared.evaluations]
    for name, first in {name: number for one in reversed(each) for name, number in one.items()}.items():
        found = [one.get(name) for one in each]
        cells = _marked(first["metric"], [one and _value(one) for one in found], _grounds(compared, found))
        if any(cell for cell, _ in cells):
            yield f"evaluated {name}", [f"{cell}{mark}" for cell, mark in cells]


def _value(number: dict[str, Any]) -> float | None:
    value = number.get("value")
    return float(value) if value is not None else None  # "inf" is a number too


def _grounds(compared: "Compared", found: Sequence[dict[str, Any] | None]) -> list[Hashable]:
    """On what each of the numbers rests: those that rest on the same compare."""
    keys = ("n", "n_real", "sha256")
    return [(ground, *((one or {}).get(key) for key in keys)) for ground, one in zip(compared.grounds, found, strict=True)]


def _marked(metric: str, values: Sequence[float | None], groups: Sequence[Hashable]) -> list[tuple[str, str]]:
    """Each value, and the mark that it has."""
    from i2i.compare import winners
    from i2i.metrics import METRICS

    best = winners(metric, values, groups) if metric in METRICS else set()
    return [(short(value), " *" if i in best else "") for i, value in enumerate(values)]


def _names(paths: Sequence[str]) -> list[str]:
    """Of folders; the whole paths where two would have one name."""
    names = [Path(path).name for path in paths]
    return names if all(names) and len(set(names)) == len(set(paths)) else list(paths)


def _cut(value: Any) -> str:
    from i2i.config import dump_value

    text = "" if value is None else dump_value(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _amount(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.1f}M" if count >= 1e5 else f"{count / 1e3:.1f}k"


def _notes(compared: "Compared", *, starred: bool) -> Iterator[str]:
    measured = [run["validation"] for run in compared.runs if run["validation"]]
    if starred:
        yield "* the best of its row"
    if len(measured) > 1 and compared.why:
        yield f"note: validations compare within a set only; the sets differ in {', '.join(compared.why)}"
    if len(by := {run["best_by"] for run in compared.runs if run["validation"]}) > 1:
        yield f"note: the best checkpoints were chosen by different metrics: {', '.join(sorted(by))}"
    grounds = {ground for ground, tree in zip(compared.grounds, compared.evaluations, strict=True) if tree}
    counts = {(n["n"], n["n_real"]) for tree in compared.evaluations for n in tree.get("metrics", [])}
    if len(grounds) > 1 or len(counts) > 1:
        yield "note: not all evaluations rest on the same images, direction, seed and numbers; those that do are compared"


def _next(compared: "Compared") -> str:
    """What to do with the best run; where none is, look at one."""
    from i2i.summary import translating

    best = _best(compared)
    if best is None:
        return f"i2i show {quote(compared.runs[0]['run'])}"
    run = compared.runs[best]
    if compared.evaluations[best]:
        return translating(run)
    return f"i2i evaluate {quote(run['run'])}" + (" --checkpoint best" if run["recommended"] != run["run"] else "")


def _best(compared: "Compared") -> int | None:
    """Which run has the best validation, by the one metric that chooses their best checkpoints."""
    from i2i.compare import best_validation, winners

    measured = {run["best_by"] if run["validation"] else "" for run in compared.runs}
    if len(measured) > 1 or "" in measured or len(set(compared.exams)) > 1:
        return None
    (by,) = measured
    values = [best["value"] if (best := best_validation(run, by)) else None for run in compared.runs]
    return next(iter(winners(by, values, compared.exams)), None)
