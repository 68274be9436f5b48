"""The cascade of refinement modules (Chen and Koltun 2017, arXiv:1707.09405), as published in TensorFlow."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Cascade(nn.Module):
    """A layout (B, in_channels, H, W) -> `images` images (B, images, out_channels, H, W) near [-1, 1], without a bound.

    Module i works at 1/2^(n - 1 - i) of the full size, with widths[i] channels; so H and W are multiples of 2^(n - 1), and
    their quotient is free. The last layer is a head named by n: a cascade that has grown does not find it in weights of before.
    The modules before `train_from` compute without a graph. `checkpointing` keeps only what passes between modules, and
    computes the rest again on the way back: the same gradients for less memory and more time.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int],
        images: int = 1,
        train_from: int = 0,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.images, self.train_from, self.checkpointing = images, train_from, checkpointing
        self.M = nn.ModuleList(Refinement(before + in_channels, width) for before, width in pairwise([0, *widths]))
        self.head = nn.ModuleDict({str(len(widths)): Head(widths[-1], images, out_channels)})
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        features = None
        for i, module in enumerate(self.M):
            layout = functional.avg_pool2d(x, 2 ** (len(self.M) - 1 - i))
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.train_from):
                if self.checkpointing and torch.is_grad_enabled():
                    features = checkpoint(module, features, layout, use_reentrant=False, preserve_rng_state=False)
                else:
                    features = module(features, layout)
        return self._head(features).unflatten(1, (self.images, -1))

    @torch.no_grad()
    def remember(self, errors: Tensor) -> None:
        """Take in which image of each input was the best; errors: (B, images), the less the better."""
        best = functional.one_hot(errors.argmin(1), self.images).to(self._head.wins)
        self._head.wins.lerp_(best.mean(0), 0.01)

    def best_first(self) -> Tensor:
        """The numbers of the images, those first that have lately been the best most often."""
        return self._head.wins.argsort(descending=True, stable=True)

    @property
    def _head(self) -> "Head":
        (head,) = self.head.values()
        assert isinstance(head, Head)
        return head

    def trained(self) -> list[nn.Module]:
        """The modules from `train_from` on, and the head."""
        return [*self.M[self.train_from :], *self.head.values()]


class Head(nn.Conv2d):
    """Features (B, in_channels, H, W) -> the channels of all images; `wins` is how often each was the best lately."""

    wins: Tensor

    def __init__(self, in_channels: int, images: int, out_channels: int):
        super().__init__(in_channels, images * out_channels, 1)
        self.register_buffer("wins", torch.zeros(images))


class Refinement(nn.Module):
    """Features of half the size (B, C, H/2, W/2), or none, and the layout (B, L, H, W) -> features (B, width, H, W)."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.model = nn.Sequential(
            *[nn.Conv2d(in_channels, width, 3, padding=1, bias=False), LayerNorm2d(width), nn.LeakyReLU(0.2, inplace=True)],
            *[nn.Conv2d(width, width, 3, padding=1, bias=False), LayerNorm2d(width), nn.LeakyReLU(0.2, inplace=True)],
        )

    def forward(self, features: Tensor | None, layout: Tensor) -> Tensor:
        if features is None:
            return self.model(layout)
        larger = functional.interpolate(features, size=layout.shape[2:], mode="bilinear", align_corners=True)
        return self.model(torch.cat([larger, layout.to(larger.dtype)], 1))


class LayerNorm2d(nn.GroupNorm):
    """Normalise each image over all of (C, H, W), then scale and shift each channel; eps as published.

    Instance norm, which sees each channel alone, would wipe out what a layout of one class says. The statistics are computed
    in float32 even when x is narrower, and x keeps its dtype.
    """

    def __init__(self, channels: int):
        super().__init__(1, channels, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return functional.group_norm(x, 1, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
