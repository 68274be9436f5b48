"""Runs side by side: in what they differ, how good they became, and which of these numbers compare. Needs no torch."""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i.config import CONFIG, SECTIONS, STAGES, Tree, completed, flat
from i2i.data.folders import natural
from i2i.summary import summary
from i2i.training import folder
from i2i.training.best import badness

APART = ("data.source", "data.x", "data.y")
"""Settings that are told in another place."""


@dataclass(frozen=True)
class Compared:
    """Runs by their summaries. `settings` are those that differ, with the value of each run; None where it has none.

    `exams` has a number for each run: those who share it were validated on the same images, as far as their files tell, so
    that their validations compare. `why` says in what exams differ. `evaluations`: what `i2i evaluate` has left, by run.
    """

    runs: list[dict[str, Any]]
    settings: dict[str, list[Any]]
    exams: list[int]
    why: list[str]
    evaluations: list[dict[str, Any]]


def found(given: Sequence[Path]) -> list[Path]:
    """The runs that are named, and those in folders that are named, each once."""
    runs: list[Path] = []
    for place in given:
        inside = [] if (place / CONFIG).is_file() else sorted(place.glob(f"*/{CONFIG}"), key=lambda file: natural(str(file)))
        runs += [file.parent for file in inside] or [place]
    return list({run.resolve(): run for run in runs}.values())


def compare(runs: Sequence[Path], by: str | None = None) -> Compared:
    """`by`: the metric whose best validation decides the order; without it they stay as they are given."""
    about = [summary(run) | {"weights": _weights(run)} for run in runs]
    if by:
        about.sort(key=lambda one: badness(by, best["value"]) if (best := best_of(one, by)) else math.inf)
    places = [Path(one["run"]) for one in about]
    trees = [folder.settings(place).tree for place in places]
    exams = [_exam(place, tree) for place, tree in zip(places, trees, strict=True)]
    kinds = list(dict.fromkeys(tuple(exam.values()) for exam in exams))
    numbers = [1 + kinds.index(tuple(exam.values())) for exam in exams]
    why = [name for name in exams[0] if len({exam[name] for exam in exams}) > 1]
    return Compared(about, _differing(trees), numbers, why, [folder.evaluation(place) or {} for place in places])


def best_of(run: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """The step and value of its best validation."""
    return ((run["validation"] or {}).get("metrics", {}).get(metric) or {}).get("best")


def winners(metric: str, values: Sequence[float | None], groups: Sequence[Hashable]) -> set[int]:
    """Where the best value stands in each group that has several values; where all are alike nobody has won."""
    found: set[int] = set()
    for group in dict.fromkeys(groups):
        mine = {i: value for i, value in enumerate(values) if groups[i] == group and value is not None}
        known = {i: badness(metric, value) for i, value in mine.items() if not math.isnan(value)}
        if len(set(known.values())) > 1:
            found |= {i for i, bad in known.items() if bad == min(known.values())}
    return found


def _exam(run: Path, tree: Tree) -> dict[str, Hashable]:
    """What has to be the same for two validations to compare, by the words for it."""
    data, train = completed(tree)["data"], completed(tree)["train"]
    saved = folder.checkpoints(run)
    seen = folder.about(saved[-1] / folder.MODEL) if saved else {}
    return {
        "the data": data["source"],
        "its images": json.dumps(seen.get("data")),
        "the direction": data["direction"],
        "the size of the crops": json.dumps([data["size"], data["load_size"], data["resize"]]),
        "the kind of images": json.dumps([data["x"], data["y"]]),
        "the images held back": json.dumps([data["hold_back"], train["validate_images"], seen.get("held_out")]),
    }


def _differing(trees: Sequence[Tree]) -> dict[str, list[Any]]:
    """The settings of which two runs have another value; of those that only some methods have, two runs of one method."""
    whole = [completed(tree) for tree in trees]
    each = [flat({name: tree[name] for name in (*SECTIONS, STAGES) if tree.get(name)}) for tree in whole]
    methods = [tree["method"] for tree in trees]
    table = {key: [one.get(key) for one in each] for key in dict.fromkeys(key for one in each for key in one)}
    told = {key: values for key, values in table.items() if not any(key == a or key.startswith(f"{a}.") for a in APART)}
    return {key: values for key, values in told.items() if _differ(values, [key in one for one in each], methods)}


def _differ(values: Sequence[Any], has: Sequence[bool], methods: Sequence[str]) -> bool:
    there = {json.dumps(value) for value, known in zip(values, has, strict=True) if known}
    split = any(len({has[i] for i, m in enumerate(methods) if m == method}) > 1 for method in methods)
    return len(there) > 1 or split


def _weights(run: Path) -> int | None:
    """How many numbers its model holds: those of the generators, the statistics of their norms with them."""
    tensors = folder.header(run / folder.MODEL)
    shapes = [about["shape"] for name, about in tensors.items() if name != "__metadata__"]
    return sum(map(math.prod, shapes)) or None
