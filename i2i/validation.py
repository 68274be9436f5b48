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
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.items import shown
from i2i.method import Batch, Method
from i2i.metrics import METRICS, chosen
from i2i.models import method_class
from i2i.scores import Asked, Shot, open_judges, score
from i2i.training.precision import Precision

USUAL = {"paired": ("l1", "psnr", "ssim", "swd"), "unpaired": ("swd", "1nn-pixels")}
"""What is measured unless `train.metrics` says otherwise: cheap, and without a file of weights."""
BY = {"paired": "ssim", "unpaired": "swd"}
FLOATS = (-1.0, 1.0)
"""The range of what methods make."""


def measured(config: Config) -> tuple[str, ...]:
    """The names of the metrics that are measured while a run trains."""
    names = config.train.metrics
    return USUAL[method_class(config.method).data] if names is None else tuple(chosen(",".join(names)))


def best_by(config: Config) -> str | None:
    """The metric by which a run keeps its best checkpoint; None where it measures none that could say."""
    usual = BY[method_class(config.method).data]
    return config.train.best_by or (usual if usual in measured(config) else next(iter(measured(config)), None))


def examine(config: Config, held_out: int) -> list[str]:
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
    names, by, count = measured(config), best_by(config), min(held_out, train.validate_images)
    kinds = ["pairs", "sets"] if method_class(config.method).data == "paired" else ["sets"]
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
        raise UserError(f"{by} needs {least} images, and {count} are held out to validate on", "train.best_by=l1 needs one")
    return [f"{count} held-out images are too few for {by}, which needs {least}: no checkpoint is kept as the best one"]


class Validation:
    """Translates held-out images, cut from the middle as training cuts them, and measures what comes out.

    Of pairs it also measures as many training images, since the distance between the two tells what was learned by heart.
    """

    def __init__(self, config: Config, unseen: FixedSamples, seen: FixedSamples, precision: Precision):
        self.unseen, self.seen, self.precision = unseen, seen, precision
        self.most = config.train.validate_images
        self.paired = method_class(config.method).data == "paired"
        self.asked = Asked(measured(config), require=True, seed=config.train.seed, device=precision.device, baselines=False)
        by = best_by(config)
        self.by = by if by and min(self._count(unseen), self.most) >= METRICS[by].least else None

    @staticmethod
    def _count(samples: FixedSamples) -> int:
        return min(len(samples.x), len(samples.y))

    def __call__(self, method: Method, floats: Callable[[loader.Batch], Batch]) -> dict[str, float]:
        """The values by their names in the log: "val/ssim", and of training images "train/ssim"."""
        values = self._measured("val", method, self.unseen, floats, self.asked)
        pairs = [name for name in self.asked.names if METRICS[name].kind == "pairs"]
        if self.paired and pairs:
            values |= self._measured("train", method, self.seen, floats, replace(self.asked, names=pairs))
        return values

    def _measured(
        self, part: str, method: Method, samples: FixedSamples, floats: Callable[[loader.Batch], Batch], asked: Asked
    ) -> dict[str, float]:
        outputs, reals = [], []
        for batch in self._batches(samples, floats):
            with self.precision.autocast():
                output = method.translate(batch.x, instances=batch.instances)
            outputs.append(_levels(output))
            reals.append(_levels(batch.y))
        report = score(_shots(outputs), _shots(reals), asked, matched=self.paired)
        found = {f"{part}/{number.metric}": number.outcome.value for number in report.numbers}
        return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}

    def _batches(self, samples: FixedSamples, floats: Callable[[loader.Batch], Batch]) -> Iterator[Batch]:
        """Each image alone, from everywhere: neighbours are often alike."""
        whole = self._count(samples)
        count = min(whole, self.most)
        for number in range(count):
            yield floats(collate([samples[number * whole // count]]))


def _levels(image: Tensor) -> Tensor:
    """(1, C, H, W) in [-1, 1] -> (3, H, W) uint8, as people see it."""
    array = image[0].float().permute(1, 2, 0).cpu().numpy()
    low, high = FLOATS
    domain = Domain(channels=array.shape[2], dtype="float32", low=low, high=high)
    return torch.from_numpy(shown(array, domain)).permute(2, 0, 1)


def _shots(images: Sequence[Tensor]) -> list[Shot]:
    def shot(number: int, image: Tensor) -> Shot:
        height, width = image.shape[1:]
        return Shot(str(number), lambda: image, (height, width), "")

    return [shot(*numbered) for numbered in enumerate(images)]
