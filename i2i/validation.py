"""How good a run is while it trains: what its generators make of held-out images, measured in the same way every time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from i2i.config import Config
from i2i.data import loader
from i2i.data.loader import collate
from i2i.data.samples import FixedSamples
from i2i.errors import UserError
from i2i.method import Batch, Method
from i2i.metrics import METRICS
from i2i.metrics.symptoms import Symptoms
from i2i.models import method_class
from i2i.scores import Asked, Shot, open_judges, score
from i2i.styles import has_styles
from i2i.training.best import measured
from i2i.training.precision import Precision
from i2i.training.sheets import shown

Floats = Callable[[loader.Batch], Batch]
STYLED = 8
"""So many inputs are also translated in another style."""


def foreseen(config: Config, held_out: int) -> list[str]:
    """What there is to say before training on how it is validated, on so many held-out images a side.

    Raises UserError for settings that cannot have the effect that they ask for.
    """
    train = config.train
    asked = [name for name in ("metrics", "best_by", "patience") if getattr(train, name) is not None]
    if asked and not (train.validate_every and held_out):
        lacking = "there are no held-out images" if train.validate_every else "train.validate_every is 0"
        raise UserError(
            f"train.{asked[0]} has no effect, since {lacking}", "data.hold_back=50 keeps images back to validate on"
        )
    if not train.validate_every:
        return []
    if not held_out:
        return ["there are no held-out images, so nothing is validated; --set data.hold_back=20 would keep some back"]
    if config.stages and train.patience:
        raise UserError("train.patience cannot go with stages, whose lengths are fixed before", "leave it out")
    data = method_class(config.method).data
    names, by = measured(data, train.metrics, train.best_by)
    count = min(held_out, train.validate_images)
    kinds = ["pairs", "sets"] if data == "paired" else ["sets"]
    for name in names:
        if METRICS[name].kind not in kinds:
            fitting = [other for other, metric in METRICS.items() if metric.kind in kinds]
            raise UserError(f"train.metrics cannot have '{name}' for {config.method}", f"there are {', '.join(fitting)}")
    if by not in names:
        raise UserError(f"train.best_by is '{by}', which is not measured", f"measured are {', '.join(names)} (train.metrics)")
    open_judges(Asked(names, require=True))
    least = METRICS[by].least
    if count >= least:
        return [f"every {train.validate_every} steps {count} held-out images are measured; the best checkpoint is that by {by}"]
    if train.best_by or train.patience:
        enough = [name for name in names if METRICS[name].least <= count]
        hint = f"{least} in the data's held-out part, or data.hold_back={least} where it has none"
        hint += f", or train.best_by={enough[0]}" if enough else ""
        raise UserError(f"{by} needs {least} images, and {count} are held out to validate on", hint)
    return [f"{count} held-out images are too few for {by}, which needs {least}: no checkpoint is kept as the best one"]


class Validation:
    """Translates held-out images, cut from the middle as training cuts them, and measures what comes out.

    Of pairs it also measures as many training images, since the distance between the two tells what was learned by heart. How
    outputs look is for `health`: the symptoms of an ill generator.
    """

    def __init__(self, config: Config, unseen: FixedSamples, seen: FixedSamples, precision: Precision):
        self.unseen, self.seen, self.precision = unseen, seen, precision
        self.most = config.train.validate_images
        data, train = method_class(config.method).data, config.train
        self.paired = data == "paired"
        names, by = measured(data, train.metrics, train.best_by)
        self.asked = Asked(names, require=True, seed=train.seed, device=precision.device, baselines=False)
        self.by = by if min(self._count(unseen), self.most) >= METRICS[by].least else None

    @staticmethod
    def _count(samples: FixedSamples) -> int:
        return min(len(samples.x), len(samples.y))

    def __call__(self, method: Method, floats: Floats) -> dict[str, float]:
        """The values by their names in the log: "val/ssim", of training images "train/ssim", and of symptoms "probe/spread"."""
        symptoms = Symptoms(self.paired)
        values = self._measured("val", self._translated(method, self.unseen, floats, symptoms), self.asked.names)
        pairs = [name for name in self.asked.names if METRICS[name].kind == "pairs"]
        if pairs:
            values |= self._measured("train", self._translated(method, self.seen, floats), pairs)
        return values | {f"probe/{name}": value for name, value in symptoms.found().items()}

    def _translated(
        self, method: Method, samples: FixedSamples, floats: Floats, symptoms: Symptoms | None = None
    ) -> tuple[list[Shot], list[Shot]]:
        """Outputs and real images. `symptoms` look at both, and at outputs in another style."""
        outputs, reals = [], []
        other = method.draw_styles(2, self.asked.seed)[1:] if symptoms and has_styles(method, 2) else []
        for number, batch in enumerate(self._batches(samples, floats)):
            asked = [None, *(other if number < STYLED else [])]
            with self.precision.autocast():
                output, *others = method.samples(batch.x, asked, instances=batch.instances)
            if symptoms:
                symptoms.add(batch.x, output, batch.y, others)
            outputs.append(_shot(number, output))
            reals.append(_shot(number, batch.y))
        return outputs, reals

    def _measured(self, part: str, images: tuple[list[Shot], list[Shot]], names: Sequence[str]) -> dict[str, float]:
        report = score(*images, replace(self.asked, names=names), matched=self.paired)
        found = {f"{part}/{number.metric}": number.outcome.value for number in report.numbers}
        return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}

    def _batches(self, samples: FixedSamples, floats: Floats) -> Iterator[Batch]:
        """Each image alone, from everywhere: neighbours are often alike."""
        whole = self._count(samples)
        count = min(whole, self.most)
        for number in range(count):
            yield floats(collate([samples[number * whole // count]]))


def _shot(number: int, image: Tensor) -> Shot:
    """image: (1, C, H, W) in [-1, 1], kept as people see it: (3, H, W) uint8."""
    levels = torch.from_numpy(shown(image[0])).permute(2, 0, 1)
    return Shot(str(number), lambda: levels, (levels.shape[1], levels.shape[2]), "")
