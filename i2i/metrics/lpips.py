"""LPIPS: what a classifier sees in two images, weighed as people judged (Zhang et al. 2018, arXiv:1801.03924)."""

from collections.abc import Sequence
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

Version = Literal["0.1", "0.0"]
BACKBONES = {
    "alex": ("alexnet", (1, 4, 7, 9, 11)),
    "vgg": ("vgg16", (3, 8, 15, 22, 29)),
    "squeeze": ("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12)),
}
"""torchvision's name of each network, and the layers of its `features` whose outputs are compared, in their published order.

The networks stand in the order in which they are wanted: alex is the authors' own choice, and vgg what most papers report.
"""
SMALLEST = {"alex": 31, "squeeze": 17, "vgg": 16}
"""The sides in pixels from which each network has something left at its last layer."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""The mean and deviation of ImageNet on the scale of [-1, 1]."""


class Lpips:
    """`layers` are a backbone's `features`; `linear` the learned weights of the channels of each tap, each (C,)."""

    def __init__(self, net: str, layers: nn.Module, linear: Sequence[Tensor], version: Version = "0.1"):
        self.net, self.layers, self.linear, self.version = net, layers, linear, version
        self.taps = BACKBONES[net][1]

    @property
    def smallest(self) -> int:
        return SMALLEST[self.net]

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Images: (B, 3, H, W) in 0..255 -> (B,) on the CPU. Eq. 1: squared differences of unit vectors, weighed, averaged."""
        total = torch.zeros(len(a))
        for x, y, weight in zip(self._seen(a), self._seen(b), self.linear, strict=True):
            difference = (_unit(x) - _unit(y)).square() * weight.to(x).view(1, -1, 1, 1)
            total += difference.sum(1).mean((1, 2)).cpu()
        return total

    def _seen(self, image: Tensor) -> list[Tensor]:
        x = image.float().to(self.linear[0].device) / 127.5 - 1
        if self.version == "0.1":  # the first release forgot to scale its input, and papers of its time report that
            x = (x - x.new_tensor(SHIFT).view(3, 1, 1)) / x.new_tensor(SCALE).view(3, 1, 1)
        seen = []
        for depth, layer in enumerate(islice(self.layers.children(), self.taps[-1] + 1)):
            x = layer(x)
            if depth in self.taps:
                seen.append(x.clone())  # the next layer may work in place
        return seen


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
