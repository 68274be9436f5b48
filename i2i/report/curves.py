"""A log of any length as curves that a page can carry: few points, no spike lost."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from i2i.training.best import series

POINTS = 800
"""The most points of one curve."""

Curve = dict[str, list[float]]
"""{"x": steps, "y": values}, equally long."""


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """What the lines of a log say of one name, in their order."""
    kept = _thinned(series(rows, name))
    return {"x": [x for x, _ in kept], "y": [float(f"{y:.5g}") for _, y in kept]}


def names(rows: Sequence[Mapping[str, Any]], *prefixes: str) -> list[str]:
    """The names in a log that begin so, in the order in which they came; without prefixes all that have a group, as "G/l1"."""
    found = dict.fromkeys(name for row in rows for name in row if "/" in name)
    return [name for name in found if not prefixes or name.startswith(prefixes)]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """The lowest and the highest of each of `POINTS` / 2 stretches, the first and the last point."""
    if len(points) <= POINTS:
        return points
    count = POINTS // 2 - 1
    edges = [1 + i * (len(points) - 2) // count for i in range(count + 1)]
    kept = {0, len(points) - 1}
    for start, end in pairwise(edges):
        stretch = range(start, end)
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]
