"""The encoders of BicycleGAN (Zhu et al. 2017, arXiv:1711.11586): from an image of the output side to a distribution of codes.

Published with an average over 8x8 pixels before the heads, so that each took one size; here the average is over the whole map,
which is the same at that size and takes any other. `smallest` is the least side in pixels.
"""

from itertools import pairwise

from torch import Tensor, nn

from i2i.networks.layers import NormName, norm_layer


class ResidualEncoder(nn.Module):
    """y: (B, in_channels, H, W) -> mean and log variance of the code, (B, z) each.

    A convolution and `blocks - 1` residual blocks, each halving the size: 5 is the published resnet_256, 4 resnet_128.
    """

    def __init__(self, in_channels: int, z: int, *, blocks: int = 5, width: int = 64, norm: NormName = "instance"):
        super().__init__()
        widths = [width * min(n, 4) for n in range(1, blocks + 1)]
        self.smallest = 2**blocks
        self.fc, self.fcVar = _head(widths[-1], z), _head(widths[-1], z)
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            *[_HalvingBlock(a, b, norm) for a, b in pairwise(widths)],
            *[nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
        )

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(y)
        return self.fc(features), self.fcVar(features)


class ConvEncoder(nn.Module):
    """y: (B, in_channels, H, W) -> mean and log variance of the code, (B, z) each.

    `blocks` convolutions, each halving the size: 5 is the published conv_256, 4 conv_128.
    """

    def __init__(self, in_channels: int, z: int, *, blocks: int = 5, width: int = 64, norm: NormName = "instance"):
        super().__init__()
        norm_of, widths = norm_layer(norm), [width * min(2**n, 4) for n in range(blocks)]
        self.smallest = 2**blocks
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), norm_of(b), nn.LeakyReLU(0.2)]
        self.conv = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc, self.fcVar = _head(widths[-1], z), _head(widths[-1], z)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(y)
        return self.fc(features), self.fcVar(features)


def _head(inside: int, z: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, z))


class _HalvingBlock(nn.Module):
    """(B, inside, H, W) -> (B, outside, H/2, W/2): two convolutions with norm and activation before each, and a shortcut."""

    def __init__(self, inside: int, outside: int, norm: NormName):
        super().__init__()
        norm_of = norm_layer(norm)
        self.conv = nn.Sequential(
            *[norm_of(inside), nn.LeakyReLU(0.2), nn.Conv2d(inside, inside, 3, padding=1)],
            *[norm_of(inside), nn.LeakyReLU(0.2), nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.AvgPool2d(2))],
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inside, outside, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)
