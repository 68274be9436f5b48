"""The U-Net of pix2pix (Isola et al. 2017, section 6.1.1), as published in PyTorch, with its state-dict keys."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from i2i.networks.layers import NormName, ResizeConv2d, UpsampleName, needs_bias, norm_layer


class UNet(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W) in [-1, 1]; H and W multiples of 2**depth.

    `depth` halvings (8 is unet_256, 7 unet_128, 6 unet_64), `width` channels at the first, doubling up to 8 * width.
    Deviations of the published PyTorch weights from the paper, kept for their sake: dropout starts one layer after the
    bottleneck, and the last convolution has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        depth: int = 8,
        width: int = 64,
        norm: NormName = "batch",
        dropout: bool = False,
        upsample: UpsampleName = "transposed",
    ):
        super().__init__()
        norm_of, bias = norm_layer(norm), needs_bias(norm)
        widths = [width * min(2**level, 8) for level in range(depth)]

        def down(inside: int, outside: int, bias: bool) -> nn.Module:
            return nn.Conv2d(inside, outside, 4, stride=2, padding=1, bias=bias)

        def up(inside: int, outside: int, bias: bool) -> nn.Module:
            if upsample == "resize":
                return ResizeConv2d(inside, outside, bias=bias)
            return nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=bias)

        outer, inner = widths[-2:]
        level: nn.Module = _Level(
            *[nn.LeakyReLU(0.2, inplace=True), down(outer, inner, bias)],
            *[nn.ReLU(inplace=True), up(inner, outer, bias), norm_of(outer)],
        )
        for outer, inner in reversed(list(pairwise(widths[:-1]))):
            level = _Level(
                *[nn.LeakyReLU(0.2, inplace=True), down(outer, inner, bias), norm_of(inner)],
                level,
                *[nn.ReLU(inplace=True), up(2 * inner, outer, bias), norm_of(outer)],
                *([nn.Dropout(0.5)] if dropout and outer == 8 * width else []),
            )
        self.model = _Outermost(
            down(in_channels, width, bias),
            level,
            *[nn.ReLU(inplace=True), up(2 * width, out_channels, bias=True), nn.Tanh()],
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    @staticmethod
    def halo(depth: int) -> int:
        """How far in pixels an input can reach, with either way of upsampling: half the receptive field. 765 for depth 8."""
        return 3 * 2**depth - 3


class _Outermost(nn.Module):
    """The frame around all levels; it has no skip."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Level(_Outermost):
    """One level: down, everything below, up. Its input is joined to its output: the skip of the U.

    The first LeakyReLU works in place, so the skip carries LeakyReLU(x). That saves a copy and changes nothing: a ReLU follows
    every join, and ReLU(LeakyReLU(x)) = ReLU(x).
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)
