"""The U-Net of BicycleGAN (Zhu et al. 2017, arXiv:1711.11586), which takes a code beside the image; with the published keys."""

from typing import Literal

import torch
from torch import Tensor, nn

from i2i.networks.layers import NormName, ReflectionPad2d, ResizeConv2d, norm_layer
from i2i.networks.unet import UNet

Where = Literal["all", "input"]
LatentUpsampleName = Literal["transposed", "resize", "bilinear"]


class LatentUNet(nn.Module):
    """x: (B, in_channels, H, W), code (B, z) -> (B, out_channels, H, W) in [-1, 1]; H and W multiples of 2**depth.

    The code is repeated over all pixels and joined to the input of every level of the encoder (`where` "all") or to the image
    alone ("input"), the two ways of the paper. `depth` halvings (8 is unet_256, 7 unet_128), `width` channels at the first,
    doubling up to 8 * width. `upsample` "bilinear" is the published alternative to transposed convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        z: int,
        where: Where = "all",
        depth: int = 8,
        width: int = 64,
        norm: NormName = "instance",
        dropout: bool = False,
        upsample: LatentUpsampleName = "transposed",
    ):
        super().__init__()
        self.where = where
        norm_of, in_every_level = norm_layer(norm), where == "all"
        frame = _LatentLevel if in_every_level else _Level
        widths = [width * min(2**level, 8) for level in range(depth)]
        below: list[nn.Module] = []
        for level in reversed(range(depth)):
            outermost, innermost = level == 0, level == depth - 1
            inside, outside = widths[level], out_channels if outermost else widths[level - 1]
            taken = (in_channels if outermost else outside) + (z if in_every_level or outermost else 0)
            down = [
                *([] if outermost else [nn.LeakyReLU(0.2, inplace=True)]),
                nn.Conv2d(taken, inside, 4, stride=2, padding=1),
                *([] if outermost or innermost else [norm_of(inside)]),
            ]
            up = [
                nn.ReLU(inplace=True),
                *_doubled(upsample, inside if innermost else 2 * inside, outside),
                *([nn.Tanh()] if outermost else [norm_of(outside)]),
                *([nn.Dropout(0.5)] if dropout and level > 3 and not innermost else []),
            ]
            below = [frame(down, below, up, skip=not outermost)]
        (self.model,) = below

    @staticmethod
    def halo(depth: int, upsample: LatentUpsampleName = "transposed") -> int:
        """How far in pixels an input can reach, as in `UNet.halo`; bilinear upsampling spreads it further."""
        return UNet.halo(depth) + (2**depth - 1 if upsample == "bilinear" else 0)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(x, z) if self.where == "all" else self.model(_joined(x, z))


def _joined(x: Tensor, z: Tensor) -> Tensor:
    """x: (B, C, H, W) with the code z: (B, Z) behind each of its pixels, (B, C + Z, H, W)."""
    return torch.cat([x, z.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)


def _doubled(upsample: LatentUpsampleName, inside: int, outside: int) -> list[nn.Module]:
    """Layers to twice the size."""
    if upsample == "bilinear":
        return [nn.Upsample(scale_factor=2, mode="bilinear"), ReflectionPad2d(1), nn.Conv2d(inside, outside, 3)]
    if upsample == "resize":
        return [ResizeConv2d(inside, outside, bias=True)]
    return [nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1)]


class _Level(nn.Module):
    """Down, everything below, up; with `skip` its input is joined to its output."""

    def __init__(self, down: list[nn.Module], below: list[nn.Module], up: list[nn.Module], *, skip: bool):
        super().__init__()
        self.skip, self.model = skip, nn.Sequential(*down, *below, *up)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return torch.cat([y, x], 1) if self.skip else y


class _LatentLevel(nn.Module):
    """The same where every level takes the code. The skip carries the input without it."""

    def __init__(self, down: list[nn.Module], below: list[nn.Module], up: list[nn.Module], *, skip: bool):
        super().__init__()
        self.skip, self.down = skip, nn.Sequential(*down)
        self.submodule = below[0] if below else None
        self.up = nn.Sequential(*up)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        deep = self.down(_joined(x, z))
        y = self.up(self.submodule(deep, z) if self.submodule is not None else deep)
        return torch.cat([y, x], 1) if self.skip else y
