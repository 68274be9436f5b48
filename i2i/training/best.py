"""What is measured while a run trains, and which validation was the best: read off its log, as a resumed run does too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from i2i.metrics import METRICS, chosen

USUAL = {"paired": ("l1", "psnr", "ssim", "swd"), "unpaired": ("swd", "1nn-pixels")}
"""What is measured for what a method learns from, unless `train.metrics` says otherwise: cheap, without a file of weights."""
BY = {"paired": "ssim", "unpaired": "swd"}


def measured(data: str, metrics: Sequence[str] | None, best_by: str | None) -> tuple[tuple[str, ...], str]:
    """What a run measures while it trains, and the metric by which it keeps its best checkpoint, from its settings of `train`.

    data: what its method learns from. Raises UserError for a name that no metric has.
    """
    names = USUAL[data] if metrics is None else tuple(chosen(metrics, "train.metrics"))
    return names, best_by or (BY[data] if BY[data] in names else names[0])


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


def spent(rows: Sequence[Mapping[str, Any]], metric: str | None, patience: int | None, after: int = 0) -> bool:
    """Whether so many validations in a row brought nothing better that the run ends."""
    return bool(metric and patience and waits(rows, metric, after) >= patience)


def badness(metric: str, value: float) -> float:
    """How far a value is from the best there could be: the lower, the better."""
    wanted = METRICS[metric].better
    if wanted in ("lower", "higher"):
        return value if wanted == "lower" else -value
    return abs(value - float(wanted))
