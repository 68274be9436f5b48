"""The statistics that norms take of the image at hand: measured, and given from elsewhere.

Norm by norm they can be those of a whole image for its tiles, or those of a video's first frame for all others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i.networks.layers import image_norms


class Moments(NamedTuple):
    """Mean and variance of `number` values of each channel of a map, (C,), or of all its channels, (1,); float64 on the CPU."""

    number: int
    mean: Tensor
    variance: Tensor


Statistics = dict[nn.Module, Moments]
"""What is known about an image, for each norm that asks about it."""


def moments(norm: nn.Module, x: Tensor) -> Moments:
    """What the norm takes of its input, (B, C, H, W)."""
    sides = (0, 1, 2, 3) if isinstance(norm, nn.GroupNorm) else (0, 2, 3)
    variance, mean = (values.reshape(-1).cpu().double() for values in torch.var_mean(x.to(_wide(x)), sides, correction=0))
    return Moments(x.numel() // len(mean), mean, variance)


def joined(a: Moments, b: Moments) -> Moments:
    """The moments of all values from those of two parts: the variance within the parts, and that of their means."""
    number, apart = a.number + b.number, b.mean - a.mean
    share = b.number / number
    variance = a.variance + share * (b.variance - a.variance) + share * (1 - share) * apart**2
    return Moments(number, a.mean + share * apart, variance)


@contextmanager
def given(network: nn.Module, known: Statistics, otherwise: Callable[[nn.Module, Tensor], Tensor]) -> Iterator[None]:
    """Inside, the norms with known statistics use these; the others do `otherwise`, called with the norm and its input."""
    norms = image_norms(network)
    for norm in norms:
        norm.forward = partial(_normalised, norm, known[norm]) if norm in known else partial(otherwise, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


@contextmanager
def kept(network: nn.Module, known: Statistics) -> Iterator[None]:
    """Inside, every norm uses the statistics that are known; what is not known is measured where it first comes, and kept."""

    def measured(norm: nn.Module, x: Tensor) -> Tensor:
        if norm not in known:
            known[norm] = moments(norm, x)
        return _normalised(norm, known[norm], x)

    with given(network, known, measured):
        yield


def _normalised(norm: Any, by: Moments, x: Tensor) -> Tensor:
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    mean, variance = (values.to(_wide(x)).to(x.device).expand(x.shape[1]) for values in (by.mean, by.variance))
    with torch.autocast(x.device.type, enabled=False):
        return functional.batch_norm(x, mean, variance, weight, bias, eps=norm.eps)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
