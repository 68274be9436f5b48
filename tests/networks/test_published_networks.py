"""Our full-size networks have the published state-dict keys, shapes and parameter counts."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from i2i.networks.patchgan import PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet

PUBLISHED = json.loads((Path(__file__).parents[1] / "parity" / "keys.json").read_text())


def built(name: str) -> nn.Module:
    """The network of a name such as "G/resnet_9blocks/instance/dropout" or "D/basic/batch/in6", without memory."""
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
    ],
)
def test_other_channels_and_widths_have_the_published_counts(network, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == count
