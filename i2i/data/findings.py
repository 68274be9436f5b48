"""What is found in a data set, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.errors import counted

Severity = Literal["error", "warning", "note"]
Kind = Literal["", "layout", "partners", "faint"]
"""What a plan can mend or knows more about: files in no known layout, pairs that are none, and values far below the full."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know. An error keeps training from starting or would end it; a warning would spoil it."""

    severity: Severity
    what: str
    do: str
    files: tuple[str, ...] = ()
    """A few examples of the `count` files that it is about."""
    count: int = 0
    kind: Kind = ""


def about(severity: Severity, files: Sequence[Path], what: str, do: str, kind: Kind = "") -> Iterator[Finding]:
    """One finding, where there are such files. `what` is said of one file and begins with a verb."""
    verb, _, rest = what.partition(" ")
    if files:
        yield Finding(severity, f"{counted(len(files), 'file', verb)} {rest}", do, examples(files), len(files), kind)


def examples(files: Sequence[Path]) -> tuple[str, ...]:
    return tuple(str(file) for file in files[:EXAMPLES])
