"""Training samples as a pure function of their number, so that order, resume and worker count can never disagree."""

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple, Protocol

import numpy as np

from i2i.config import DataSettings
from i2i.data.folders import Source
from i2i.data.reader import INSTANCES, Reader
from i2i.data.transforms import cropped
from i2i.domain import Domain

Array = np.ndarray
ORDER, CUT = 0, 1
MASK = Domain.of(1)


class Sample(NamedTuple):
    """One cut (H, W, C) of everything. x and y are in their domains' dtypes; of a label map, `Domain.positions`.

    `instances` are int32 ids, (H, W, 1); `region` is (H, W, 1) float32 in [0, 1].
    """

    x: Array
    y: Array
    instances: Array | None = None
    region: Array | None = None


class Samples(Protocol):
    """An endless supply. Sample n is the same whenever, wherever and in whatever order it is asked for."""

    domains: tuple[Domain, Domain]

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def __getitem__(self, number: int) -> Sample: ...


class _Both:
    """What pairs and unpaired samples share: two sides, their domains, and how a sample is cut."""

    def __init__(self, x: Sequence[Source], y: Sequence[Source], settings: DataSettings, reader: Reader, seed: int):
        assert settings.x, "domains are settled before samples are drawn"
        assert settings.y
        self.x, self.y, self.seed = x, y, seed
        self.settings, self.reader = settings, reader
        self.domains: tuple[Domain, Domain] = (settings.x, settings.y)
        self._order = lru_cache(2)(self._shuffled)

    def __len__(self) -> int:
        return max(len(self.x), len(self.y))

    def _draws(self, purpose: int, number: int) -> Random:
        """A fresh stream. Of Python's generator, since its random() is the same on every version and machine."""
        return Random((self.seed << 65) | (purpose << 64) | number)

    def _shuffled(self, epoch: int) -> Array:
        draw = self._draws(ORDER, epoch).random
        return np.argsort([draw() for _ in range(len(self))], kind="stable")

    def _place(self, number: int) -> int:
        """Which of the epoch's samples the number stands for: every epoch is a new order of all of them."""
        epoch, position = divmod(number, len(self))
        return int(self._order(epoch)[position])

    def _cut(self, image: Array, row: float, column: float, mirror: float) -> Array:
        return cropped(image, self.settings.crop, (row, column), self.settings.flip and mirror < 0.5)


class PairedSamples(_Both):
    """x[i] with its partner y[i] and what lies beside them; one draw of place and mirroring for all.

    `instances` and `region` are as long as x, or empty where there are none.
    """

    def __init__(
        self,
        x: Sequence[Source],
        y: Sequence[Source],
        settings: DataSettings,
        reader: Reader,
        seed: int,
        instances: Sequence[Source] = (),
        region: Sequence[Source] = (),
    ):
        super().__init__(x, y, settings, reader, seed)
        self.instances, self.region = instances, region

    def __getitem__(self, number: int) -> Sample:
        draw = self._draws(CUT, number).random
        i, place = self._place(number), (draw(), draw(), draw())
        return self._sample(i, i, place)

    def _sample(self, i: int, j: int, place: tuple[float, float, float]) -> Sample:
        """x[i] and what lies beside it, with y[j]."""
        x, y = self.reader(self.x[i], self.domains[0]), self.reader(self.y[j], self.domains[1])
        instances = self._cut(self.reader(self.instances[i], INSTANCES), *place) if self.instances else None
        region = self._cut(self.reader(self.region[i], MASK), *place).astype(np.float32) / 255 if self.region else None
        return Sample(self._cut(x, *place), self._cut(y, *place), instances, region)


class UnpairedSamples(_Both):
    """x in turn with a random y, as published; each with draws of its own. An epoch is as long as the larger side."""

    def __getitem__(self, number: int) -> Sample:
        i, draw = self._place(number) % len(self.x), self._draws(CUT, number).random
        j = int(draw() * len(self.y))
        x, y = self.reader(self.x[i], self.domains[0]), self.reader(self.y[j], self.domains[1])
        return Sample(self._cut(x, draw(), draw(), draw()), self._cut(y, draw(), draw(), draw()))


class FixedSamples(PairedSamples):
    """The same few samples every time: the first ones in order, cut from the middle, never mirrored."""

    def __getitem__(self, number: int) -> Sample:
        return self._sample(number % len(self.x), number % len(self.y), (0.5, 0.5, 1.0))
