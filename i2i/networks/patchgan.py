"""Discriminators that judge patches (Isola et al. 2017, section 3.2.2) or single pixels, with the published keys."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from i2i.networks.layers import NormName, needs_bias, norm_layer

Maps = list[list[Tensor]]
"""What a discriminator answers. A list for each scale, full resolution first: the output of every activation in the order of
the layers, and last the logits (B, 1, h, w)."""


class PatchGAN(nn.Module):
    """(B, C, H, W) -> one list of maps, with a logit for each overlapping patch: 16, 34, 70, 142 or 286 pixels for 1 to 5
    `layers`.

    The first convolution has no norm; the last two have stride 1.
    """

    def __init__(self, in_channels: int, *, layers: int = 3, width: int = 64, norm: NormName = "batch"):
        super().__init__()
        self.model = nn.Sequential(*patch_layers(in_channels, layers, width, norm, bias=needs_bias(norm)))

    def forward(self, x: Tensor) -> Maps:
        return [maps_of(self.model, x)]

    @staticmethod
    def smallest(layers: int) -> int:
        """The smallest side in pixels that leaves a map of at least one logit: 24 for 3 layers."""
        return 3 * 2**layers


class PixelGAN(nn.Module):
    """(B, C, H, W) -> one list of maps, with a logit for each pixel: each is judged alone, by 1x1 convolutions."""

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

    def forward(self, x: Tensor) -> Maps:
        return [maps_of(self.net, x)]

    @staticmethod
    def smallest() -> int:
        return 1


class MultiScalePatchGAN(nn.Module):
    """pix2pixHD's discriminators (Wang et al. 2018, section 3.2): the same patches at full resolution, half of it and so on.

    (B, C, H, W) -> a list of maps for each scale. Kernels of 4 with padding 2, so that every map is a pixel larger than half.
    `scale0` is the coarsest: one more scale adds keys and renames none, and the weights of fewer scales still fit.
    """

    def __init__(self, in_channels: int, *, scales: int = 2, layers: int = 3, width: int = 64, norm: NormName = "instance"):
        super().__init__()
        self.scales, self.stages = scales, layers + 2
        norm_of = norm_layer(norm)
        for scale in range(scales):
            before, after = in_channels, width
            for n in range(layers + 1):
                convolution = nn.Conv2d(before, after, 4, stride=2 if n < layers else 1, padding=2)
                normed = [norm_of(after)] if n > 0 else []
                self.add_module(f"scale{scale}_layer{n}", nn.Sequential(convolution, *normed, nn.LeakyReLU(0.2, inplace=True)))
                before, after = after, min(2 * after, 512)
            self.add_module(f"scale{scale}_layer{layers + 1}", nn.Sequential(nn.Conv2d(before, 1, 4, padding=2)))

    def forward(self, x: Tensor) -> Maps:
        result: Maps = []
        for scale in reversed(range(self.scales)):
            x = halved(x) if result else x
            stages = (self.get_submodule(f"scale{scale}_layer{n}") for n in range(self.stages))
            result.append(maps_of((layer for stage in stages for layer in stage.children()), x))
        return result

    @staticmethod
    def smallest(scales: int) -> int:
        """The smallest side in pixels at which the coarsest scale sees more than a single pixel: 3 for 2 scales."""
        return 2 ** (scales - 1) + 1


class HalvingPatchGAN(nn.Module):
    """BicycleGAN's discriminators (Zhu et al. 2017b, published code): patches at full resolution, half of it and so on.

    (B, C, H, W) -> a list of maps for each scale. Each scale is a `PatchGAN` with half the width of the one before.
    """

    def __init__(self, in_channels: int, *, scales: int = 2, layers: int = 3, width: int = 64, norm: NormName = "instance"):
        super().__init__()
        self.scales = scales
        for scale in range(scales):
            modules = patch_layers(in_channels, layers, max(1, width // 2**scale), norm, bias=True)
            self.add_module(f"model_{scale}", nn.Sequential(*modules))

    def forward(self, x: Tensor) -> Maps:
        result: Maps = []
        for scale in range(self.scales):
            x = halved(x) if result else x
            result.append(maps_of(self.get_submodule(f"model_{scale}").children(), x))
        return result

    @staticmethod
    def smallest(layers: int, scales: int) -> int:
        """The smallest side in pixels that leaves the coarsest scale a map of at least one logit: 47 for 3 layers, 2 scales."""
        return (PatchGAN.smallest(layers) - 1) * 2 ** (scales - 1) + 1


def patch_layers(in_channels: int, layers: int, width: int, norm: NormName, *, bias: bool) -> list[nn.Module]:
    """The layers of a PatchGAN with padding 1; `bias` is that of the convolutions in front of a norm."""
    norm_of = norm_layer(norm)
    sequence: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    before = width
    for n in range(1, layers + 1):
        after, stride = width * min(2**n, 8), 2 if n < layers else 1
        convolution = nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias)
        sequence += [convolution, norm_of(after), nn.LeakyReLU(0.2, inplace=True)]
        before = after
    return [*sequence, nn.Conv2d(before, 1, 4, padding=1)]


def maps_of(layers: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """The output of every activation, and what the last layer makes of them."""
    maps = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            maps.append(x)
    return [*maps, x]


def halved(x: Tensor) -> Tensor:
    """Half the resolution, odd sides rounded up: the mean of 3x3 pixels, of as many as there are at the border."""
    return avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
