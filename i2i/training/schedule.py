"""The learning rate over a run."""

import math
from typing import Literal

ScheduleName = Literal["linear", "constant", "cosine"]


def factor(kind: ScheduleName, tick: int, total: int, constant: int) -> float:
    """What the learning rate is multiplied by at `tick` (counted from 0) of `total` ticks, epochs or steps.

    linear: 1 for the first `constant` ticks, then down in equal steps, to reach 0 only after the last one:
    1 - n/(decay + 1) at the n-th tick of the decay, as the published code of pix2pix and CycleGAN does with epochs.
    cosine: half a cosine from 1 to 0 over all ticks (Loshchilov and Hutter 2017, eq. 5). constant: 1.
    """
    if kind == "linear":
        return 1 - max(0, tick + 1 - constant) / (max(0, total - constant) + 1)
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(tick, total) / total))
    return 1.0
