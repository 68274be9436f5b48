"""Errors for people: one sentence that says what, where and what was expected, and a hint that says what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something outside the program is wrong: the command line, the config, the data, the model.

    `status` is the exit status of the command that ends with this error.
    """

    status = 2

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message)
        self.message, self.hint = message, hint


class NothingDone(UserError):
    """There was nothing to work on, or every single input failed."""

    status = 4


class Diverged(UserError):
    """Training produced a loss or a weight that is not finite."""

    status = 5


class OutOfResources(UserError):
    """Memory or disk ran out after every fallback."""

    status = 6


class Interrupted(UserError):
    """A signal stopped the work; what was reached is saved. The status is 128 plus the signal's number."""

    def __init__(self, message: str, hint: str | None = None, *, signal: int):
        super().__init__(message, hint)
        self.status = 128 + signal


MANY = {"is": "are", "has": "have", "was": "were"}


def counted(count: int, noun: str, verb: str = "") -> str:
    """Such as "1 image" or "3 images"; with a verb "1 image needs" or "3 images need"."""
    words = f"{noun} {verb}" if count == 1 else f"{noun}s {MANY.get(verb, verb.removesuffix('s'))}"
    return f"{count} {words}".rstrip()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a mistyped one was probably to be."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def meant(word: str, known: Iterable[str]) -> str | None:
    """The hint for a mistyped word, where there is a near one."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else None
