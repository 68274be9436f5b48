"""`i2i show`, `i2i methods` and `i2i config`: what there is."""

from itertools import zip_longest
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages
from i2i.cli.screen import clock, speed
from i2i.cli.tables import columns, filled, short
from i2i.errors import counted

if TYPE_CHECKING:
    from i2i.config import Config

LABEL = 13
"""Characters before what is said under a heading."""


def methods(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """List the methods that can be trained, with the data each learns from.

    Example:

        i2i methods
    """
    from i2i.methods import METHODS

    if as_json:
        messages.result_json({name: {"data": row.data, "summary": row.summary} for name, row in METHODS.items()})
        return
    width = max(map(len, METHODS))
    for name, row in METHODS.items():
        messages.result(f"{name:<{width}}  {row.data:<8}  {row.summary}")
    messages.next_command(f"i2i config {next(iter(METHODS))}")


def config(
    method: Annotated[str, typer.Argument(help="A method of `i2i methods`.", show_default=False)],
    preset: Annotated[str | None, typer.Option("--preset", "-p", help="Lay a shipped preset over the defaults.")] = None,
) -> None:
    """Print every setting of a method with its default and where that comes from, and the shipped presets.

    The output is a config file: change it and train with --config.

    Example:

        i2i config cyclegan --preset small > my.yaml
    """
    from i2i.methods import chosen

    chosen(method)
    from i2i import models
    from i2i.config import preset as shipped
    from i2i.config import presets

    for name, summary in presets(method).items():
        messages.say(f"preset {name}: {summary}")
    show_config(models.configure(method, [shipped(method, preset)] if preset else []))
    messages.next_command(f"i2i train {method} --data FOLDER" + (f" --preset {preset}" if preset else ""))


def show(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say where a run stands: progress, losses, validation, checkpoints, and what to do next. It may be in training.

    Example:

        i2i show runs/cyclegan-horse2zebra-001
    """
    from i2i.summary import summary

    about = summary(run)
    if as_json:
        messages.result_json(about)
        return
    for name, lines in _sections(about).items():
        for label, line in zip_longest([name], lines, fillvalue=""):
            messages.result(f"{label:<{LABEL}}{line}".rstrip())
    for warning in about["warnings"]:
        messages.say("warning: {name}: {evidence}; {remedy}".format(**warning))
    if _is_best_older(about):
        messages.say("note: the last checkpoint is not the best one; the model of the run is that of the last")
    messages.next_command(_next(about))


def _sections(about: dict[str, Any]) -> dict[str, list[str]]:
    """What there is to say, line by line, under its heading."""
    sides = f": {about['x']} -> {about['y']}" if about["x"] and about["y"] else ""
    of = f" of {about['steps']} ({about['step'] / about['steps']:.0%})" if about["steps"] else ""
    later = f"; saved at {about['saved']}" if about["saved"] != about["step"] else ""
    found = {
        "run": [f"{about['run']}, {about['state']}"],
        "method": [f"{about['method']} {about['direction'] or ''}{sides}"],
        "data": [str(about["data"])],
        "progress": [f"step {about['step']}{of}, epoch {about['epoch']:.2f}{later}"],
        "time": [_time(about)],
        "losses": filled((f"{name} {short(value)}" for name, value in about["losses"].items()), LABEL),
        "rates": filled((f"{name} {short(value)}" for name, value in about["rates"].items()), LABEL),
        "validation": _validation(about),
        "checkpoints": [f"{name}{_role(name, about)}" for name in about["checkpoints"]],
        "model": [about["model"] or "none yet"],
    }
    return {name: lines for name, lines in ((name, list(lines)) for name, lines in found.items()) if lines}


def _time(about: dict[str, Any]) -> str:
    pace, left = about["seconds_per_step"], about["seconds_left"]
    parts = [clock(about["seconds"]), speed(1 / pace) if pace else "", f"{clock(left)} left" if left else ""]
    return ", ".join(part for part in parts if part)


def _validation(about: dict[str, Any]) -> list[str]:
    found, by = about["validation"], about["best_by"]
    if not found:
        return []
    rows = [("metric", "better", "last", "at step", "best", "at step")]
    for name, metric in found["metrics"].items():
        last, best = ((short(one["value"]), str(one["step"])) for one in (metric["last"], metric["best"]))
        rows.append((name, metric["better"], *last, *best))
    chosen = [f"the best of {counted(found['count'], 'validation')} is that by {by}"]
    return [*columns(rows), *(chosen if by in found["metrics"] else [])]


def _role(name: str, about: dict[str, Any]) -> str:
    roles = [role for role in ("best", "last") if about[role] == name]
    return f" ({' and '.join(roles)})" if roles else ""


def _is_best_older(about: dict[str, Any]) -> bool:
    return about["recommended"] != about["run"]


def _next(about: dict[str, Any]) -> str:
    """Translate with what is best, or go on; of a run that is being trained the curves."""
    from i2i.summary import translating

    run = about["run"]
    if about["state"] == "running":
        return f"tensorboard --logdir {quote(f'{run}/tensorboard')}"
    return f"i2i resume {quote(run)}" if about["state"] == "stopped" else translating(about)


def show_config(config: "Config") -> None:
    """A configuration as YAML that can be used again, with the source of each value in a comment."""
    from i2i.config import SECTIONS, STAGES, commented, dump, flat

    messages.result(f"method: {config.method}")
    tree = config.tree()
    for line in commented(flat({name: tree[name] for name in SECTIONS}), config.sources):
        messages.result(line)
    if config.stages:
        messages.result(dump({STAGES: config.stages}).rstrip())
