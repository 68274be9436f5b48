"""`i2i show`, `i2i methods` and `i2i config`: what there is."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages

if TYPE_CHECKING:
    from i2i.config import Config


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
    """Say where a run stands: method, data, progress, the last losses, checkpoints, and what to do next.

    Example:

        i2i show runs/cyclegan-horse2zebra-001
    """
    from i2i import runs

    about = runs.summary(run)
    if as_json:
        messages.result_json(about)
        return
    for name, value in about.items():
        messages.result(f"{name:<12}{_plain(value)}")
    finished = about["steps"] is not None and about["step"] >= about["steps"]
    name = quote(str(run))
    messages.next_command(f"i2i translate {name} FOLDER -o OUT" if finished else f"i2i resume {name}")


def show_config(config: "Config") -> None:
    """A configuration as YAML that can be used again, with the source of each value in a comment."""
    from i2i.config import SECTIONS, STAGES, commented, dump, flat

    messages.result(f"method: {config.method}")
    tree = config.tree()
    for line in commented(flat({name: tree[name] for name in SECTIONS}), config.sources):
        messages.result(line)
    if config.stages:
        messages.result(dump({STAGES: config.stages}).rstrip())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {number:.4g}" for name, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
