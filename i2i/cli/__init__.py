"""The command `i2i`. Each command parses, calls one function and prints; torch is imported inside their bodies only."""

import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from i2i.cli import data, messages, show, train, translate
from i2i.errors import UserError

app = typer.Typer(
    help="Train image-to-image translation models on your own folders and apply them to folders of any size.",
    epilog="Start with: i2i train cyclegan --data scenes --preset quick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("resume")(train.resume)
app.command("translate")(translate.translate)
app.add_typer(data.app, name="data")
app.command("show")(show.show)
app.command("methods")(show.methods)
app.command("config")(show.config)


@app.callback()
def _options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    _version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", callback=lambda on: _print_version(on), is_eager=True)] = False,
) -> None:
    messages.set_quiet(quiet)


def _print_version(wanted: bool) -> None:
    if wanted:
        messages.result(f"i2i {version('i2i-toolbox')}")
        raise typer.Exit


def main() -> None:
    """Run the command line; the exit status tells what happened (see the README)."""
    try:
        app()
    except UserError as error:
        messages.fail(error)
        sys.exit(error.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _out_of_memory(error):
            hint = "a smaller --batch or --size, a smaller --set model.generator.width, or --precision bf16 need less"
            messages.fail(UserError(f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}", hint))
            sys.exit(6)
        traceback.print_exc()
        messages.fail(UserError("this is a bug of i2i, not yours", "please report it with the lines above and the command"))
        sys.exit(1)


def _out_of_memory(error: Exception) -> bool:
    """Without importing torch only to ask: its CPU allocator raises a plain RuntimeError."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error)
