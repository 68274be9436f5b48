"""What metrics need of each image, kept while images pass by, and what they make of it in the end."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from i2i.metrics import METRICS, Kind, paired, palettes, sliced, two_samples
from i2i.metrics.distributions import evenly, frechet_distance, kernel_distance, manifolds
from i2i.metrics.features import clean

THUMBNAIL, CROP = 32, 64
View = list[Tensor]
"""What a metric needs of a set of images: tensors with one row an image."""
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Outcome:
    """A value, or the `reason` why there is none and the `hint` what to do.

    `deviation`: over images, or over the halves of a set. `baseline` is the same number for real against real, of sets of
    `baseline_n`, and `at_baseline_n` that of as many outputs, since many a metric depends on the number of images.
    """

    value: float | None = None
    deviation: float | None = None
    baseline: float | None = None
    baseline_n: int | None = None
    at_baseline_n: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    hint: str | None = None


def of_kind(names: Iterable[str], *kinds: Kind) -> list[str]:
    return [name for name in names if METRICS[name].kind in kinds]


# Pairs


class Distances:
    """Distances of pairs by metric, and for comparison those of real images that have nothing to do with each other.

    `networks` are those of the metrics that need one; `smallest` is the smallest side of an image.
    """

    def __init__(self, names: Sequence[str], networks: Mapping[str, Any], smallest: int):
        functions = {name: OWN.get(name) or (networks[name], networks[name].smallest)
                     for name in names if name in OWN or name in networks}  # fmt: skip
        self.too_small = {
            name: Outcome(reason=f"the smallest image has a side of {smallest} pixels: it needs {least}")
            for name, (_, least) in functions.items()
            if smallest < least
        }
        self.functions = {name: function for name, (function, _) in functions.items() if name not in self.too_small}
        self.values: dict[str, list[float]] = {name: [] for name in self.functions}
        self.others: dict[str, list[float]] = {name: [] for name in self.functions}

    def add(self, pairs: Sequence[tuple[Tensor, Tensor]], others: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Images: (3, H, W) in 0..255."""
        for name, function in self.functions.items():
            for kept, images in ((self.values, pairs), (self.others, others)):
                kept[name] += [float(function(a[None], b[None])) for a, b in images]

    def outcomes(self) -> dict[str, Outcome]:
        found = {name: self._outcome(values, self.others[name]) for name, values in self.values.items() if values}
        return {**self.too_small, **found}

    @staticmethod
    def _outcome(values: Sequence[float], others: Sequence[float]) -> Outcome:
        beside = {"baseline": _mean(others), "baseline_n": len(others)} if others else {}
        return _sound(Outcome(_mean(values), _deviation(values), details={"pairs": len(values)}, **beside))  # type: ignore[arg-type]


class Pairs:
    """Each output against its target, and for comparison the target before that one."""

    def __init__(
        self, names: Sequence[str], networks: Mapping[str, Any], palette: Tensor | None, smallest: int, baselines: bool = True
    ):
        self.baselines = baselines
        self.distances = Distances(of_kind(names, "pairs"), networks, smallest)
        self.painted = of_kind(names, "palette") if palette is not None else []
        self.palette = torch.zeros(0, 3) if palette is None else palette
        self.confused, self.others_confused = (torch.zeros(2 * [len(self.palette)], dtype=torch.int64) for _ in range(2))
        self.before: Tensor | None = None

    @property
    def idle(self) -> bool:
        return not (self.distances.functions or self.painted)

    def add(self, fake: Tensor, target: Tensor) -> None:
        """Images: (3, H, W) uint8."""
        others = [(self.before, target)] if self.before is not None and self.before.shape == target.shape else []
        self.distances.add([(fake, target)], others)
        if self.painted:
            true = self._ids(target)
            self.confused += self._confusion(fake, true)
            for other, _ in others:
                self.others_confused += self._confusion(other, true)
        self.before = target if self.baselines else None

    def _ids(self, image: Tensor) -> Tensor:
        return palettes.nearest(image, self.palette)

    def _confusion(self, image: Tensor, true: Tensor) -> Tensor:
        return palettes.confusion(self._ids(image), true, len(self.palette))

    def outcomes(self) -> dict[str, Outcome]:
        found = self.distances.outcomes()
        measures = {"palette-accuracy": palettes.accuracy, "palette-miou": palettes.mean_iou}
        for name in self.painted if self.confused.sum() else []:
            other = measures[name](self.others_confused) if self.others_confused.sum() else None
            found[name] = Outcome(measures[name](self.confused), baseline=other)
        return found


class Variety:
    """Consecutive outputs of each input, 19 pairs of 20, and for comparison consecutive real images."""

    def __init__(self, names: Sequence[str], networks: Mapping[str, Any], smallest: int):
        self.distances = Distances(of_kind(names, "styles"), networks, smallest)
        self.before: Tensor | None = None

    @property
    def idle(self) -> bool:
        return not self.distances.functions

    def add(self, outputs: Sequence[Tensor], real: Tensor) -> None:
        """Images: (3, H, W) uint8."""
        others = [(self.before, real)] if self.before is not None and self.before.shape == real.shape else []
        self.distances.add(list(pairwise(outputs)), others)
        self.before = real

    def outcomes(self) -> dict[str, Outcome]:
        return self.distances.outcomes()


def _rms(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).square().flatten(1).mean(1).sqrt()


OWN: dict[str, tuple[Distance, int]] = {
    "l1": (paired.l1, 1),
    "psnr": (paired.psnr, 1),
    "ssim": (paired.ssim, paired.SSIM_SIDE),
    "ms-ssim": (paired.ms_ssim, paired.MS_SSIM_SIDE),
    "styles-pixels": (_rms, 1),
}
"""The distances that need no network, and the smallest side of an image that each can be computed of."""


def _mean(values: Sequence[float]) -> float:
    """Infinite where a value is, and no number where one is none."""
    return (math.fsum if all(map(math.isfinite, values)) else sum)(values) / len(values)


def _sound(outcome: Outcome) -> Outcome:
    """With a reason in the place of a value that is no number."""
    if outcome.value is None or not math.isnan(outcome.value):
        return outcome
    return Outcome(reason="what came out is not a number", hint="check the images, and the file of weights if one is used")


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


# Sets

Results = dict[str, Outcome]
Measure = Callable[[View, View, int], Results]


class Sets:
    """What the metrics of sets need of each image of both sets. `smallest` is the smallest side of an image."""

    def __init__(
        self,
        names: Sequence[str],
        networks: Mapping[str, Any],
        counts: tuple[int, int],
        smallest: int,
        seed: int = 0,
        baselines: bool = True,
    ):
        self.networks, self.counts, self.seed, self.baselines = networks, counts, seed, baselines
        self.crop, self.square = min(CROP, smallest), sliced.side(smallest)
        self.each = sliced.patches_each(max(*counts, 1))
        mine = [name for name in of_kind(names, "sets") if name in networks or not METRICS[name].judge]
        why_not = {name: self._why_not(name) for name in mine}
        self.refused = {name: Outcome(reason=reason) for name, reason in why_not.items() if reason}
        self.names = [name for name in mine if name not in self.refused]
        self.views: dict[str, tuple[list[View], list[View]]] = {VIEWS[name]: ([], []) for name in self.names}
        self.generators = [torch.Generator().manual_seed(seed + side) for side in (0, 1)]

    def _why_not(self, name: str) -> str | None:
        n, least = min(self.counts), METRICS[name].least
        if n < least:
            return f"n={n} is too few to mean anything: it needs {least} on each side"
        if name == "swd" and self.square is None:
            return f"the smallest image has a side of less than {sliced.SMALLEST} pixels"
        return None

    @property
    def idle(self) -> bool:
        return not self.names

    def add(self, fake: Tensor | None, real: Tensor | None) -> None:
        """Images: (3, H, W) uint8."""
        for side, image in enumerate((fake, real)):
            for view, rows in self.views.items():
                if image is not None:
                    rows[side].append(self._seen(view, image, self.generators[side]))

    def _seen(self, view: str, image: Tensor, generator: torch.Generator) -> View:
        if view == "thumbnails":
            return [clean(image[None].float(), THUMBNAIL)[0]]
        if view == "crops":
            return [_middle(image, self.crop)]
        if view == "patches":
            assert self.square
            return sliced.patches(_middle(image, self.square), self.each, generator)
        network = next(self.networks[name] for name in self.names if VIEWS[name] == view)
        return [network(image, "legacy" if view == "features-legacy" else "clean")]

    def outcomes(self) -> Results:
        found = dict(self.refused)
        for measure, view in dict.fromkeys((MEASURES[name], VIEWS[name]) for name in self.names):
            fake, real = (_stacked(rows) for rows in self.views[view])
            whole = measure(fake, real, self.seed)
            n, baseline, same = _baseline(measure, fake, real, self.seed) if self.baselines else (0, {}, {})
            for name in self.names:
                if (MEASURES[name], VIEWS[name]) == (measure, view):
                    found[name] = _sound(whole[name])
                    if found[name].value is not None and 2 * n >= max(METRICS[name].least, 4):
                        one, other = baseline[name].value, same[name].value
                        found[name] = replace(found[name], baseline=one, baseline_n=n, at_baseline_n=other)
        return found


def _baseline(measure: Measure, fake: View, real: View, seed: int) -> tuple[int, Results, Results]:
    """One half of the real images against the other; and as many outputs against that other half."""
    n = min(len(real[0]) // 2, len(fake[0]))
    if n < 2:
        return n, {}, {}
    one, other = ([evenly(x, 2 * n)[start::2] for x in real] for start in (0, 1))
    return n, measure(one, other, seed), measure([evenly(x, n) for x in fake], other, seed)


def _stacked(rows: Iterable[View]) -> View:
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def _middle(image: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def _manifolds(fake: View, real: View, seed: int) -> Results:
    return {name: Outcome(value) for name, value in manifolds(fake[0], real[0])._asdict().items()}


def _kernel(fake: View, real: View, seed: int) -> Results:
    estimate = kernel_distance(fake[0], real[0], seed=seed)
    return {"kid": Outcome(estimate.value, estimate.deviation, details={"subset": estimate.size})}


def _frechet(fake: View, real: View, seed: int) -> Results:
    return dict.fromkeys(("fid", "fid-legacy"), Outcome(frechet_distance(fake[0], real[0])))


def _neighbours(fake: View, real: View, seed: int) -> Results:
    accuracy, of_fake, of_real = two_samples.nearest_neighbours(fake[0], real[0])
    return dict.fromkeys(("1nn", "1nn-pixels"), Outcome(accuracy, details={"fake": of_fake, "real": of_real}))


def _classifier(fake: View, real: View, seed: int) -> Results:
    accuracy, p = two_samples.classifier_test(fake[0], real[0], seed)
    return {"classifier": Outcome(accuracy, details={"p": p, "crop": fake[0].shape[-1]})}


def _sliced(fake: View, real: View, seed: int) -> Results:
    levels = sliced.sliced_distances([x.flatten(0, 1) for x in fake], [x.flatten(0, 1) for x in real], seed)
    sides = [sliced.SMALLEST * 2**depth for depth in reversed(range(len(levels)))]
    return {"swd": Outcome(_mean(levels), details={"levels": dict(zip(map(str, sides), levels, strict=True))})}


def _birthday(fake: View, real: View, seed: int) -> Results:
    share, size = two_samples.birthday(fake[0], real[0], seed=seed)
    return {"birthday": Outcome(share, details={"batch": size})}


def _diversity(fake: View, real: View, seed: int) -> Results:
    return {"diversity-pixels": Outcome(two_samples.diversity(fake[0]))}


MEASURES: dict[str, Measure] = {
    "kid": _kernel,
    "fid": _frechet,
    "fid-legacy": _frechet,
    **dict.fromkeys(("precision", "recall", "density", "coverage"), _manifolds),
    "1nn": _neighbours,
    "1nn-pixels": _neighbours,
    "classifier": _classifier,
    "swd": _sliced,
    "birthday": _birthday,
    "diversity-pixels": _diversity,
}
VIEWS: dict[str, str] = {
    **{name: metric.judge for name, metric in METRICS.items() if metric.kind == "sets" and metric.judge},
    **dict.fromkeys(("1nn-pixels", "birthday", "diversity-pixels"), "thumbnails"),
    "classifier": "crops",
    "swd": "patches",
}
