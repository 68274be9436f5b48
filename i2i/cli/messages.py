"""What commands print: results on stdout, everything else on stderr, names of files exactly as they are."""

import json
import math
import os
import sys
from typing import Any

from i2i.errors import UserError

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say`; errors and results still come."""
    global _quiet  # noqa: PLW0603 (one process, one terminal)
    _quiet = quiet


def is_quiet() -> bool:
    return _quiet


def is_one_of_several() -> bool:
    """Whether torchrun started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def is_follower() -> bool:
    """Whether torchrun started this process as another one than the first, which talks for all."""
    return is_one_of_several() and os.environ["RANK"] != "0"


def say(text: str) -> None:
    """Tell the person something that is not the result."""
    if not _quiet:
        _line(text, sys.stderr)


def result(text: str) -> None:
    """Print what the command was asked for."""
    _line(text, sys.stdout)


def result_json(value: Any) -> None:
    """Print one JSON document on one line."""
    result(json.dumps(strict(value), allow_nan=False))


def strict(value: Any) -> Any:
    """As JSON can hold it, which has no infinity: it is the text "inf"; what is no number is null."""
    if isinstance(value, dict):
        return {name: strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def fail(error: UserError) -> None:
    """One sentence, then what to do."""
    _line(f"{_coloured('error:', '31')} {error.message}", sys.stderr)
    if error.hint:
        _line(f"{_coloured('hint:', '36')} {error.hint}", sys.stderr)


def next_command(command: str) -> None:
    """Every command ends by saying what comes next."""
    say(f"{_coloured('next:', '36')} {command}")


def _line(text: str, stream: Any) -> None:
    """Print without markup or wrapping; what the stream cannot encode (an odd file name) is escaped.

    Work does not end for want of a reader: when nobody listens any more, as in `i2i translate … --json | head -1`, the rest is
    done in silence.
    """
    encoding = stream.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        nobody_listens(stream)


def nobody_listens(stream: Any) -> None:
    """Let what is still printed there vanish, instead of failing again when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _coloured(text: str, code: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"\x1b[1;{code}m{text}\x1b[0m"
