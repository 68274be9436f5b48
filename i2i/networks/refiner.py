"""SimGAN's refiner and local discriminators (Shrivastava et al. 2017, arXiv:1612.07828). No norm in either."""

from typing import Literal

from torch import Tensor, nn

from i2i.networks.patchgan import Maps

LocalName = Literal["eyes", "hands"]


class Refiner(nn.Module):
    """(B, channels, H, W) in [-1, 1] -> the same: stride 1 everywhere, so nothing can move; any size, borders padded with 0.

    A `kernel`-sized convolution, `blocks` residual blocks, a 1x1 convolution and a tanh. The paper has 3 and 4 for eyes, 7 and
    10 for hands. With `residual` the network only learns what to change: clamp(x + R(x), -1, 1), which is not in the paper.
    """

    def __init__(self, channels: int, *, width: int = 64, blocks: int = 4, kernel: int = 3, residual: bool = False):
        super().__init__()
        self.residual = residual
        self.first = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.blocks = nn.Sequential(*[RefinerBlock(width, kernel) for _ in range(blocks)])
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        change = self.last(self.blocks(self.first(x))).tanh()
        return (x + change).clamp(-1, 1) if self.residual else change

    @staticmethod
    def halo(blocks: int, kernel: int) -> int:
        """How far in pixels an input can reach: 9 for eyes, 63 for hands."""
        return (1 + 2 * blocks) * (kernel // 2)


class RefinerBlock(nn.Module):
    """ReLU(x + f(x)) with two convolutions, (B, C, H, W) -> the same."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        padding = kernel // 2
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, kernel, padding=padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.convolutions(x)).relu()


class LocalDiscriminator(nn.Module):
    """(B, C, H, W) -> maps of features, then one logit (B, 1, h, w) for each place; any size, borders padded.

    eyes: a quarter of each side (35x55 -> 9x14), each place sees 23 pixels; hands: 1/32 (224 -> 7), 71 pixels. The paper ends
    in two channels and a softmax: the cross-entropy of those is that of one logit, their difference.
    """

    def __init__(self, in_channels: int, *, kind: LocalName = "eyes"):
        super().__init__()
        if kind == "eyes":
            first, second = nn.Conv2d(in_channels, 96, 3, stride=2, padding=1), nn.Conv2d(96, 64, 3, stride=2, padding=1)
            pool, third = nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        else:
            first, second = nn.Conv2d(in_channels, 96, 7, stride=4, padding=3), nn.Conv2d(96, 64, 5, stride=2, padding=2)
            pool, third = nn.MaxPool2d(3, stride=2, padding=1), nn.Conv2d(64, 32, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            [
                nn.Sequential(first, nn.ReLU(inplace=True)),
                nn.Sequential(second, nn.ReLU(inplace=True)),
                nn.Sequential(pool, third, nn.ReLU(inplace=True)),
                nn.Sequential(nn.Conv2d(32, 32, 1), nn.ReLU(inplace=True)),
                nn.Conv2d(32, 1, 1),
            ]
        )

    def forward(self, x: Tensor) -> Maps:
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return [maps]
