"""From images to numbers: each image is read once, what metrics need of it is kept, each number says what it rests on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i import judges
from i2i.decoders import LOSSY
from i2i.errors import UserError
from i2i.judges import Judge
from i2i.metrics import METRICS, Kind
from i2i.metrics.features import WORDS
from i2i.segmenter import Confusions, Segmenter
from i2i.tallies import THUMBNAIL, VIEWS, Outcome, Pairs, Sets, Variety

BIASED = 2048
"""Below so many images the covariances of 2,048 features are not of full rank, and FID is too large."""
PROTOCOL = (100, 20)
"""Inputs, and outputs of each, of BicycleGAN's diversity (Zhu et al. 2017, arXiv:1711.11586, section 4, and its code)."""
CPU = torch.device("cpu")
Found = dict[str, Judge | UserError]
"""The network that each kind of judge is, or why it is not there."""


@dataclass(frozen=True)
class Shot:
    """One image, loaded when it is needed: (3, H, W) uint8. `name` is what partners share; `size` is (height, width)."""

    name: str
    load: Callable[[], Tensor]
    size: tuple[int, int]
    format: str


@dataclass(frozen=True)
class Asked:
    """What to measure: names of `METRICS`, a `palette` (K, 3) for those that need one, `weights` as places to look in.

    Without names the usual ones are measured. With `require` a missing file of weights is an error, not a missing number.
    The `device` is that of networks: numbers are computed on the CPU, in float64. `baselines` are the same numbers for real
    images against real ones, which take longer than the numbers themselves. The `segmenter` looks for classes.
    """

    names: Sequence[str] = ()
    weights: Sequence[Path] = ()
    palette: Tensor | None = None
    require: bool = False
    seed: int = 0
    device: torch.device = CPU
    baselines: bool = True
    segmenter: Segmenter | None = None


@dataclass(frozen=True)
class Number:
    """What became of a metric, and on what it rests: the numbers of outputs and real images, how they were resized, and the
    file of weights of the network that looked. `name` says where that is not the one the metric is defined with."""

    metric: str
    name: str
    better: str
    n: int
    n_real: int
    outcome: Outcome
    resize: str | None = None
    weights: str | None = None
    sha256: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Report:
    numbers: list[Number]
    formats: dict[str, dict[str, int]]
    """How many files of each format the outputs and the real images are."""
    warnings: list[str]


def score(
    fake: Sequence[Shot],
    real: Sequence[Shot],
    asked: Asked,
    *,
    matched: bool,
    styles: Callable[[int], list[Tensor]] | None = None,
    seen: Confusions | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Measure outputs against real images. `matched`: fake[i] belongs to real[i]; `styles` makes many outputs of input i.
    `seen` counts what a segmenter sees in fake[i], and in real[i] where they are matched.

    Raises UserError where matched sizes differ.
    """
    if matched:
        _require_equal_sizes(fake, real)
    found = open_judges(asked)
    networks = {name: judge.network for name in asked.names if isinstance(judge := _judge(found, name), Judge)}
    counts, sides = (len(fake), len(real)), [min(shot.size) for shot in (*fake, *real)]
    pairs = Pairs(asked.names, networks, asked.palette, min(sides), asked.baselines) if matched else None
    sets = Sets(asked.names, networks, counts, min(sides), asked.seed, asked.baselines)
    variety = Variety(asked.names, networks, min(sides))

    idle = sets.idle and (pairs is None or pairs.idle) and seen is None
    steps, inputs = 0 if idle else max(counts), 0 if variety.idle or styles is None else min(len(fake), PROTOCOL[0])
    for i in range(steps):
        output, other = fake[i].load() if i < len(fake) else None, real[i].load() if i < len(real) else None
        sets.add(output, other)
        if pairs and output is not None and other is not None:
            pairs.add(output, other)
        if seen and output is not None:
            seen.add(i, output, other if matched else None)
        on_progress(i + 1, steps + inputs)
    for i in range(inputs):
        assert styles
        variety.add(styles(i), real[i % len(real)].load())
        on_progress(steps + i + 1, steps + inputs)

    outcomes = {**(pairs.outcomes() if pairs else {}), **sets.outcomes(), **(variety.outcomes() if styles else {})}
    outcomes |= seen.outcomes() if seen else {}
    numbers = [_number(name, outcomes.get(name), _looking(asked, found, name), counts) for name in asked.names]
    formats = {"fake": dict(Counter(s.format for s in fake)), "real": dict(Counter(s.format for s in real))}
    return Report(numbers, formats, [*_warnings(formats), *(seen.warnings() if seen else [])])


def _require_equal_sizes(fake: Sequence[Shot], real: Sequence[Shot]) -> None:
    differing = [(a, b) for a, b in zip(fake, real, strict=True) if a.size != b.size]
    if differing:
        a, b = differing[0]
        others = f", and so do {len(differing) - 1} others" if len(differing) > 1 else ""
        raise UserError(
            f"'{a.name}' has {a.size[1]}x{a.size[0]} pixels, and its target differs with {b.size[1]}x{b.size[0]}{others}",
            "nothing is resized silently: bring both to one size first, or compare them as sets with --real",
        )


def _warnings(formats: dict[str, dict[str, int]]) -> list[str]:
    fake, real = (set(formats[side]) for side in ("fake", "real"))
    if fake.intersection(LOSSY) == real.intersection(LOSSY):
        return []
    words = [" and ".join(sorted(kinds)) for kinds in (fake, real)]
    return [f"outputs are {words[0]} and real images {words[1]}: compression alone moves every number that looks at texture"]


# The networks


def open_judges(asked: Asked) -> Found:
    """Each network that some metric needs. With `require` raises the UserError of one that is missing."""
    wanted = {metric.judge for name in asked.names if (metric := METRICS[name]).judge}
    where = judges.places(asked.weights) if wanted else []
    found: Found = {}
    for judge in sorted({_resized_or_not(name) for name in wanted if name}):
        try:
            if judge == "features":
                found[judge] = judges.features(where, asked.device)
            else:
                found[judge] = judges.lpips(where, "0.0" if judge == "lpips-v0.0" else "0.1", asked.device)
        except judges.Missing as error:
            if asked.require:
                raise
            found[judge] = error
    return found


def _judge(found: Found, metric: str) -> Judge | UserError | None:
    return found.get(_resized_or_not(METRICS[metric].judge or ""))


def _looking(asked: Asked, found: Found, metric: str) -> Judge | UserError | None:
    """The network that a number comes from, or why it is not there."""
    if METRICS[metric].kind == "segments" and asked.segmenter:
        return Judge(asked.segmenter, judges.PUBLISHED, asked.segmenter.file, asked.segmenter.sha256)
    return _judge(found, metric)


def _resized_or_not(judge: str) -> str:
    """The resize is a matter of the metric, not of the network."""
    return judge.removesuffix("-legacy")


# Numbers

ABSENT: dict[Kind, tuple[str, str | None]] = {
    "pairs": ("it compares pairs, and the outputs have no targets", "--target DIR, with the names of the outputs"),
    "palette": ("it compares pairs in the colours of a palette", "--palette FILE, and for folders --target DIR"),
    "segments": ("it compares what a segmenter sees with label maps", "--segmenter FILE.onnx, and for folders --labels DIR"),
    "styles": ("it needs a model that makes many outputs of an input", "evaluate a run of bicyclegan"),
    "sets": ("there is nothing to compare", None),
}


def _number(name: str, outcome: Outcome | None, judge: Judge | UserError | None, counts: tuple[int, int]) -> Number:
    metric = METRICS[name]
    about: dict[str, Any] = {}
    if VIEWS.get(name) == "thumbnails":
        about = {"resize": f"{WORDS['clean']} to {THUMBNAIL}"}
    if isinstance(judge, Judge):
        about = {"weights": str(judge.file), "sha256": judge.sha256}
        if metric.kind == "sets":
            how = WORDS["legacy" if metric.judge == "features-legacy" else "clean"]
            about["resize"] = f"{how} to {judge.network.side}"
    if outcome is None:
        why = (judge.message, judge.hint) if isinstance(judge, UserError) else ABSENT[metric.kind]
        outcome = Outcome(reason=why[0], hint=why[1])
    if outcome.value is not None and name in ("fid", "fid-legacy") and min(counts) < BIASED:
        about["note"] = f"biased at n={min(counts)}: compare it with real/real at the same n only; kid is not"
    shown = f"{name} ({judge.name})" if isinstance(judge, Judge) and judge.name != judges.PUBLISHED else name
    return Number(name, shown, metric.better, *counts, outcome, **about)
