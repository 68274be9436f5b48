"""Which validation of a run was the best one: read off its log, so that a resumed run finds the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from i2i.metrics import METRICS


def series(rows: Iterable[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of every line of a log that has the value."""
    return [(row["step"], row[name]) for row in rows if name in row]


def best_of(rows: Iterable[Mapping[str, Any]], metric: str, after: int = 0) -> tuple[int, float] | None:
    """The step and value of the best validation after step `after`, of equal ones the first; None where there is none."""
    found = [(step, value) for step, value in series(rows, f"val/{metric}") if step > after]
    return min(found, key=lambda one: badness(metric, one[1]), default=None)


def waits(rows: Sequence[Mapping[str, Any]], metric: str, after: int = 0) -> int:
    """How many validations there were since the best one."""
    top = best_of(rows, metric, after)
    return len([step for step, _ in series(rows, f"val/{metric}") if top and step > top[0]])


def badness(metric: str, value: float) -> float:
    """How far a value is from the best there could be: the lower, the better."""
    wanted = METRICS[metric].better
    if wanted in ("lower", "higher"):
        return value if wanted == "lower" else -value
    return abs(value - float(wanted))
