"""Discriminators that judge patches (Isola et al. 2017, section 3.2.2) or single pixels, with the published keys."""

from torch import Tensor, nn

from i2i.networks.layers import NormName, needs_bias, norm_layer


class PatchGAN(nn.Module):
    """(B, C, H, W) -> logits (B, 1, h, w), one for each overlapping patch: 16, 34, 70, 142 or 286 pixels for 1 to 5 `layers`.

    The first convolution has no norm; the last two have stride 1.
    """

    def __init__(self, in_channels: int, *, layers: int = 3, width: int = 64, norm: NormName = "batch"):
        super().__init__()
        norm_of, bias = norm_layer(norm), needs_bias(norm)
        sequence: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        before = width
        for n in range(1, layers + 1):
            after, stride = width * min(2**n, 8), 2 if n < layers else 1
            sequence += [
                nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias),
                norm_of(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            before = after
        self.model = nn.Sequential(*sequence, nn.Conv2d(before, 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    @staticmethod
    def smallest(layers: int) -> int:
        """The smallest side in pixels that leaves a map of at least one logit: 24 for 3 layers."""
        return 3 * 2**layers


class PixelGAN(nn.Module):
    """(B, C, H, W) -> logits (B, 1, H, W): each pixel judged alone, by 1x1 convolutions."""

    def __init__(self, in_channels: int, *, width: int = 64, norm: NormName = "batch"):
        super().__init__()
        norm_of, bias = norm_layer(norm), needs_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            norm_of(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
