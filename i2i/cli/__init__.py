"""The command `i2i`. Each command parses, calls one function and prints; torch is imported inside their bodies only."""

import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from i2i.atomic import explained
from i2i.cli import compare, data, doctor, evaluate, export, imports, messages, plan, report, show, train, translate
from i2i.errors import Interrupted, OutOfResources, UserError

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
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("import")(imports.import_)
app.command("export")(export.export)
app.add_typer(data.app, name="data")
app.command("plan")(plan.plan)
app.command("doctor")(doctor.doctor)
app.command("show")(show.show)
app.command("compare")(compare.compare)
app.command("methods")(show.methods)
app.command("config")(show.config)


def _print_version(wanted: bool) -> None:
    if wanted:
        messages.result(f"i2i {version('i2i-toolbox')}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    messages.set_quiet(quiet or messages.is_follower())


def main() -> None:
    """Run the command line; the exit status tells what happened (see the README)."""
    status = _status()
    if messages.is_one_of_several():
        # Everything is on disk. Once in about forty runs the threads of torch.distributed abort an interpreter that winds down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _status() -> int:
    try:
        return app(prog_name="i2i", standalone_mode=False) or 0  # else typer prints errors in a box of its own
    except UserError as error:
        if not (isinstance(error, Interrupted) and messages.is_follower()):
            messages.fail(error)
        return error.status
    except SystemExit as error:  # a follower leaves quietly with the status of the first
        return error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _explained(error)


def _explained(error: Exception) -> int:
    """Say what an error that is none of ours means for the person. Returns the exit status."""
    if hasattr(error, "format_message"):  # how typer says that the command line is wrong
        return _misused(error)
    if isinstance(error, OSError):
        return _blocked(error)
    if _out_of_memory(error):
        hint = "a smaller --batch or --size, --precision bf16, or networks of a smaller width need less"
        messages.fail(UserError(f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}", hint))
        return OutOfResources.status
    traceback.print_exception(error)
    messages.fail(UserError("this is a bug of i2i, not yours", "please report it with the lines above and the command"))
    return 1


def _misused(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    messages.fail(UserError(text[:1].lower() + text[1:], f"{error.ctx.command_path} --help" if error.ctx else None))
    return 2


def _blocked(error: OSError) -> int:
    """The system has refused something, mostly a file; where the disk is full it says so."""
    told = explained(error, Path(error.filename or "."))
    if not isinstance(told, UserError):
        what = f"cannot use '{error.filename}'" if error.filename else "the system has refused"
        told = UserError(f"{what}: {error.strerror or error}", "check the name, who owns it and its mode")
    messages.fail(told)
    return told.status


def _out_of_memory(error: Exception) -> bool:
    """Without importing torch only to ask: its CPU allocator raises a plain RuntimeError."""
    words = "not enough memory", "can't allocate memory"
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(w in str(error) for w in words)
