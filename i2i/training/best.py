"""What is measured while a run trains, and which validation was the best: read off its log, as a resumed run does too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from i2i.metrics import METRICS, chosen

USUAL = {"paired": ("l1", "psnr", "ssim", "swd"), "unpaired": ("swd", "1nn-pixels")}
"""What is measured for what a method learns from, unless `train.metrics` says otherwise: cheap, without a file of weights."""
BY = {"paired": "ssim", "unpaired": "swd"}


def measured(data: str, metrics: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the metrics that a run measures while it trains: its `train.metrics`, or what is usual for its `data`."""
    return USUAL[data] if metrics is None else tuple(chosen(",".join(metrics)))


def chosen_by(data: str, metrics: Sequence[str] | None, by: str | None) -> str | None:
    """The metric by which a run keeps its best checkpoint: `by` where that is set; None where nothing is measured."""
    names = measured(data, metrics)
    return by or (BY[data] if BY[data] in names else next(iter(names), None))


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
