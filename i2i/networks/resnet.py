"""The residual generator of CycleGAN (Zhu et al. 2017, section 7.2, after Johnson et al. 2016), with the published keys."""

from torch import Tensor, nn

from i2i.networks.layers import NormName, ReflectionPad2d, ResizeConv2d, UpsampleName, needs_bias, norm_layer


class ResNet(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W) in [-1, 1]; H and W multiples of 4 and at least 8.

    c7s1-64, d128, d256, `blocks` residual blocks, u128, u64, c7s1-3 in the paper's notation, for `width` 64.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int = 9,
        width: int = 64,
        norm: NormName = "instance",
        dropout: bool = False,
        upsample: UpsampleName = "transposed",
    ):
        super().__init__()
        norm_of, bias = norm_layer(norm), needs_bias(norm)

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, norm_of(channels), nn.ReLU(inplace=True)]

        def up(inside: int, outside: int) -> nn.Module:
            if upsample == "resize":
                return ResizeConv2d(inside, outside, bias=bias)
            return nn.ConvTranspose2d(inside, outside, 3, stride=2, padding=1, output_padding=1, bias=bias)

        inner = 4 * width
        layers = [ReflectionPad2d(3), *normed(nn.Conv2d(in_channels, width, 7, bias=bias), width)]
        for c in (width, 2 * width):
            layers += normed(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1, bias=bias), 2 * c)
        layers += [ResidualBlock(inner, norm=norm, bias=bias, dropout=dropout) for _ in range(blocks)]
        for c in (4 * width, 2 * width):
            layers += normed(up(c, c // 2), c // 2)
        layers += [ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    @staticmethod
    def halo(blocks: int, upsample: UpsampleName = "transposed") -> int:
        """How far in pixels an input can reach: half the receptive field. Each block adds 8, two convolutions at a quarter of
        the resolution; upsampling by resizing adds 3, since its convolutions come after it."""
        return 12 + 8 * blocks + (3 if upsample == "resize" else 0)


class ResidualBlock(nn.Module):
    """x + f(x) with two 3x3 convolutions, (B, C, H, W) -> the same; nothing follows the sum."""

    def __init__(self, channels: int, *, norm: NormName, bias: bool, dropout: bool = False):
        super().__init__()
        norm_of = norm_layer(norm)
        self.conv_block = nn.Sequential(
            *[ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm_of(channels), nn.ReLU(inplace=True)],
            *([nn.Dropout(0.5)] if dropout else []),
            *[ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm_of(channels)],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)
