"""The coarse-to-fine generator of pix2pixHD (Wang et al. 2018, section 3.2) and its encoder (3.4), with the published keys."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from i2i.networks.layers import NormName, ReflectionPad2d, ResizeConv2d, UpsampleName, norm_layer
from i2i.networks.resnet import ResidualBlock


class GlobalGenerator(nn.Module):
    """G1: (B, in_channels, H, W) -> (B, out_channels, H, W) in [-1, 1]; H and W multiples of 2^halvings, at least twice that.

    `width` channels at full size, twice as many after each of `halvings`, then `blocks` residual blocks, and back. Every
    convolution has a bias, as published.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        halvings: int = 4,
        blocks: int = 9,
        norm: NormName = "instance",
        upsample: UpsampleName = "transposed",
    ):
        super().__init__()
        layers = _trunk(in_channels, width, halvings, blocks, norm, upsample)
        self.model = nn.Sequential(*layers, *_to_image(width, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def finest(self) -> list[nn.Module]:
        """The part that is always trained: all of it."""
        return [self.model]

    def coarse(self) -> list[nn.Module]:
        """The part that can be held fixed for a while: there is none."""
        return []

    @staticmethod
    def halo(halvings: int, blocks: int, upsample: UpsampleName = "transposed") -> int:
        """How far in pixels an input can reach: half the receptive field, as in `ResNet.halo`."""
        rest = 2**halvings - 1
        return 6 + (3 if upsample == "resize" else 2) * rest + 2 * blocks * 2**halvings


class LocalEnhancer(nn.Module):
    """G1 inside `enhancers` rings of G2, each of which doubles the resolution: (B, in_channels, H, W) -> an image in [-1, 1].

    `width` is that of the outermost ring, half of the next one's, so that G1 has 2^enhancers times as many. H and W are
    multiples of 2^(halvings + enhancers), and at least twice that. Each ring adds its own features of the input to the last
    features from inside, where G1 loses the layers that would make them an image.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        halvings: int = 4,
        blocks: int = 9,
        enhancers: int = 1,
        local_blocks: int = 3,
        norm: NormName = "instance",
        upsample: UpsampleName = "transposed",
    ):
        super().__init__()
        self.enhancers = enhancers
        self.model = nn.Sequential(*_trunk(in_channels, width * 2**enhancers, halvings, blocks, norm, upsample))
        for n in range(1, enhancers + 1):
            c = width * 2 ** (enhancers - n)
            image = _to_image(c, out_channels) if n == enhancers else []
            self.add_module(f"model{n}_1", nn.Sequential(*_from_image(in_channels, c, norm), *_down(c, norm)))
            rest = [ResidualBlock(2 * c, norm=norm, bias=True) for _ in range(local_blocks)]
            self.add_module(f"model{n}_2", nn.Sequential(*rest, *_up(2 * c, norm, upsample), *image))

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for _ in range(self.enhancers):
            pyramid.append(avg_pool2d(pyramid[-1], 3, stride=2, padding=1, count_include_pad=False))
        y = self.model(pyramid.pop())
        for n in range(1, self.enhancers + 1):
            own, rest = self._ring(n)
            y = rest(own(pyramid.pop()) + y)
        return y

    def finest(self) -> list[nn.Module]:
        """The part that is always trained: the outermost ring."""
        return self._ring(self.enhancers)

    def coarse(self) -> list[nn.Module]:
        """The part that can be held fixed for a while: everything inside of that."""
        return [self.model, *(part for n in range(1, self.enhancers) for part in self._ring(n))]

    def _ring(self, n: int) -> list[nn.Module]:
        """What sees the input, and what sees its features added to those from inside."""
        return [self.get_submodule(f"model{n}_1"), self.get_submodule(f"model{n}_2")]

    @staticmethod
    def halo(halvings: int, blocks: int, enhancers: int, local_blocks: int, upsample: UpsampleName = "transposed") -> int:
        """How far in pixels an input can reach: through the pyramid, G1 at 1/2^enhancers of the resolution, and every ring."""
        rest, up = 2**enhancers - 1, 2 if upsample == "resize" else 1
        inside = (GlobalGenerator.halo(halvings, blocks, upsample) - 3) * 2**enhancers
        return rest + inside + (4 * local_blocks + up) * rest + 3


class FeatureEncoder(GlobalGenerator):
    """E: an image (B, C, H, W) -> features (B, out_channels, H, W) in [-1, 1], for the mean over each thing (section 3.4).

    The layers of G1 without residual blocks.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 3, *, width: int = 16, halvings: int = 4, norm: NormName = "instance"
    ):
        super().__init__(in_channels, out_channels, width=width, halvings=halvings, blocks=0, norm=norm)


def _trunk(in_channels: int, width: int, halvings: int, blocks: int, norm: NormName, upsample: UpsampleName) -> list[nn.Module]:
    """From the input to the last features, `width` channels at full size."""
    widths = [width * 2**i for i in range(halvings)]
    layers = _from_image(in_channels, width, norm)
    layers += [layer for c in widths for layer in _down(c, norm)]
    layers += [ResidualBlock(width * 2**halvings, norm=norm, bias=True) for _ in range(blocks)]
    return layers + [layer for c in reversed(widths) for layer in _up(2 * c, norm, upsample)]


def _from_image(in_channels: int, c: int, norm: NormName) -> list[nn.Module]:
    return [ReflectionPad2d(3), *_normed(nn.Conv2d(in_channels, c, 7), c, norm)]


def _to_image(c: int, out_channels: int) -> list[nn.Module]:
    return [ReflectionPad2d(3), nn.Conv2d(c, out_channels, 7), nn.Tanh()]


def _down(c: int, norm: NormName) -> list[nn.Module]:
    """Half the size, twice the channels."""
    return _normed(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), 2 * c, norm)


def _up(c: int, norm: NormName, upsample: UpsampleName) -> list[nn.Module]:
    """Twice the size, half the channels."""
    if upsample == "resize":
        return _normed(ResizeConv2d(c, c // 2, bias=True), c // 2, norm)
    return _normed(nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1), c // 2, norm)


def _normed(convolution: nn.Module, channels: int, norm: NormName) -> list[nn.Module]:
    return [convolution, norm_layer(norm)(channels), nn.ReLU(inplace=True)]
