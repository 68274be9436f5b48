"""Our full-size networks have the published state-dict keys, shapes and parameter counts."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from i2i.networks.coarse_to_fine import FeatureEncoder, GlobalGenerator, LocalEnhancer
from i2i.networks.encoder import ConvEncoder, ResidualEncoder
from i2i.networks.latent_unet import LatentUNet
from i2i.networks.patchgan import HalvingPatchGAN, MultiScalePatchGAN, PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet

PUBLISHED = json.loads((Path(__file__).parents[1] / "parity" / "keys.json").read_text())


def built(name: str) -> nn.Module:
    """The network of a name such as "G/resnet_9blocks/instance/dropout" or "D/basic/batch/in6", without memory."""
    if name.startswith("bicyclegan/"):
        return built_for_bicyclegan(*name.split("/")[1:])
    if name.startswith("pix2pixhd/"):
        return built_for_pix2pixhd(*name.split("/")[1:])
    part, kind, norm, *rest = name.split("/")
    with torch.device("meta"):
        if part == "D":
            channels = int(rest[0].removeprefix("in"))
            if kind == "pixel":
                return PixelGAN(channels, norm=norm)
            return PatchGAN(channels, layers=3 if kind == "basic" else int(kind[-1]), norm=norm)
        dropout = rest == ["dropout"]
        if kind.startswith("unet"):
            return UNet(3, 3, depth={"unet_128": 7, "unet_256": 8}[kind], norm=norm, dropout=dropout)
        return ResNet(3, 3, blocks=int(kind[7]), norm=norm, dropout=dropout)


def built_for_pix2pixhd(part: str, kind: str, given: str = "") -> nn.Module:
    """The network of a name such as "pix2pixhd/G/local/labels35_edge_feat3" or "pix2pixhd/D/num_D3/rgb", without memory."""
    channels = 3 if given == "rgb" else 39 if given.endswith("feat3") else 36
    with torch.device("meta"):
        if part == "G":
            return GlobalGenerator(channels, 3) if kind == "global" else LocalEnhancer(channels, 3)
        return FeatureEncoder(3) if part == "E" else MultiScalePatchGAN(channels + 3, scales=int(kind[-1]))


def built_for_bicyclegan(part: str, kind: str, *rest: str) -> nn.Module:
    """The network of a name such as "bicyclegan/G/unet_256/add_all/basic/in3" or "bicyclegan/E/conv_128", without memory."""
    large = "256" in kind
    with torch.device("meta"):
        if part == "G":
            where, upsample, given = rest
            options = {"where": where.removeprefix("add_"), "upsample": upsample.replace("basic", "transposed")}
            return LatentUNet(int(given[-1]), 3, z=8, depth=8 if large else 7, **options)
        if part == "E":
            return (ResidualEncoder if "resnet" in kind else ConvEncoder)(3, 8, blocks=5 if large else 4)
        return HalvingPatchGAN(6 if rest == ("conditional",) else 3, layers=3 if large else 2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_shapes_and_count_are_the_published_ones(name: str) -> None:
    network, published = built(name), PUBLISHED[name]
    assert {key: list(t.shape) for key, t in network.state_dict().items()} == published["keys"]
    assert list(network.state_dict()) == list(published["keys"])
    assert sum(p.numel() for p in network.parameters()) == published["parameters"]


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_dropout_leaves_the_keys_of_a_unet_alone(norm: str) -> None:
    with torch.device("meta"):
        without, dropped = (UNet(3, 3, depth=8, norm=norm, dropout=dropout) for dropout in (False, True))
    assert list(without.state_dict()) == list(dropped.state_dict())
    assert sum(isinstance(m, nn.Dropout) for m in dropped.modules()) == 3


def test_dropout_sits_in_the_middle_levels_of_a_unet_only() -> None:
    with torch.device("meta"):
        counts = {d: sum(isinstance(m, nn.Dropout) for m in UNet(3, 3, depth=d, dropout=True).modules()) for d in (5, 6, 7, 8)}
    assert counts == {5: 0, 6: 1, 7: 2, 8: 3}


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: UNet(1, 2), 54_409_858),
        (lambda: UNet(3, 1), 54_409_857),
        (lambda: UNet(3, 3, width=32), 13_608_259),
        (lambda: ResNet(1, 3), 11_371_907),
        (lambda: ResNet(3, 3, width=32), 2_850_563),
        (lambda: PatchGAN(1, norm="instance"), 2_762_689),
        (lambda: GlobalGenerator(36, 3, halvings=3), 45_696_835),
        (lambda: GlobalGenerator(3, 3, width=32), 45_620_867),
        (lambda: GlobalGenerator(3, 3, width=16), 11_410_243),
        (lambda: GlobalGenerator(3, 3, width=32, halvings=3), 11_405_699),
        (lambda: GlobalGenerator(3, 3, width=16, halvings=2, blocks=4), 346_371),
        (lambda: LocalEnhancer(36, 3, width=16, enhancers=2), 182_947_699),
        (lambda: MultiScalePatchGAN(6, scales=1), 2_767_809),
    ],
)
def test_other_channels_and_widths_have_the_published_counts(network, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == count
