"""Runs side by side: in what they differ, how good they became, and which of these numbers compare. Needs no torch."""

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i.config import CONFIG, SECTIONS, STAGES, Tree, completed, flat
from i2i.data.folders import natural
from i2i.errors import UserError
from i2i.summary import summary
from i2i.training import folder
from i2i.training.best import badness

APART = ("data.source", "data.x", "data.y")
"""Settings that are told in another place."""
RESTS_ON = ("data", "direction", "seed", "palette", "segmenter_values")
"""What an evaluation was asked to do, as it is kept."""


@dataclass(frozen=True)
class Compared:
    """Runs by their summaries. `settings` are those that differ, with the value of each run; None where it has none.

    `exams` has a number for each run: those who share it were validated on the same images, as far as their files tell, so
    that their validations compare. `why` says in what exams differ. `evaluations`: what `i2i evaluate` has left, by run, and
    `grounds` numbers what they rest on: who shares one was measured on the same images in the same way.
    """

    runs: list[dict[str, Any]]
    settings: dict[str, list[Any]]
    exams: list[int]
    why: list[str]
    evaluations: list[dict[str, Any]]
    grounds: list[int]


def found(given: Sequence[Path], say: Callable[[str], None] = lambda text: None) -> list[Path]:
    """The runs that are named, and those in folders that are named, each once. Of the latter damaged ones are left out."""
    runs: list[Path] = []
    for place in given:
        inside = [] if (place / CONFIG).is_file() else sorted(place.glob(f"*/{CONFIG}"), key=lambda file: natural(str(file)))
        runs += [run for file in inside if _is_readable(run := file.parent, say)] or [place]
    return list({run.resolve(): run for run in runs}.values())


def _is_readable(run: Path, say: Callable[[str], None]) -> bool:
    try:
        folder.settings(run)
    except UserError as error:
        say(f"warning: '{run}' is left out: {error.message}")
        return False
    return True


def compare(runs: Sequence[Path], by: str | None = None) -> Compared:
    """`by`: the metric whose best validation decides the order; without it they stay as they are given."""
    about = [summary(run) | {"weights": _weights(run)} for run in runs]
    if by:
        about.sort(key=lambda one: badness(by, best["value"]) if (best := best_validation(one, by)) else math.inf)
    places = [Path(one["run"]) for one in about]
    trees = [folder.settings(place).tree for place in places]
    exams = [_data(place, tree) | _exam(tree) for place, tree in zip(places, trees, strict=True)]
    why = [name for name in exams[0] if len({exam[name] for exam in exams}) > 1]
    evaluations = [folder.evaluation(place) or {} for place in places]
    grounds = [
        _data(place, tree) | {key: found.get(key) for key in RESTS_ON}
        for place, tree, found in zip(places, trees, evaluations, strict=True)
    ]
    return Compared(about, _differing(trees), _numbered(exams), why, evaluations, _numbered(grounds))


def _numbered(found: Sequence[Mapping[str, Hashable]]) -> list[int]:
    """From 1; alike ones share a number."""
    kinds = list(dict.fromkeys(tuple(one.values()) for one in found))
    return [1 + kinds.index(tuple(one.values())) for one in found]


def best_validation(run: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
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


def _data(run: Path, tree: Tree) -> dict[str, Hashable]:
    """What has to be the same for two measurements to compare, by the words for it."""
    data, saved = completed(tree)["data"], folder.checkpoints(run)
    seen = folder.about(saved[-1] / folder.MODEL) if saved else {}
    return {
        "the data": data["source"],
        "its images": json.dumps(seen.get("data")),
        "the direction": data["direction"],
        "the kind of images": json.dumps([data["x"], data["y"]]),
        "the images held back": json.dumps([data["hold_back"], seen.get("held_out")]),
    }


def _exam(tree: Tree) -> dict[str, Hashable]:
    """The same of validations alone."""
    data = completed(tree)["data"]
    return {
        "the size of the crops": json.dumps([data["size"], data["load_size"], data["resize"]]),
        "how many are measured": completed(tree)["train"]["validate_images"],
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
