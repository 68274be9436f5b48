import pytest
import torch
from torch import Tensor, nn

from i2i.networks.layers import initialise
from i2i.networks.resnet import ResidualBlock, ResNet


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("size", [(8, 8), (12, 20), (36, 52)])
def test_any_multiple_of_four_keeps_its_size(size, norm, upsample) -> None:
    network = ResNet(3, 2, blocks=1, width=4, norm=norm, upsample=upsample)
    initialise(network)
    y = network(drawn(2, 3, *size))
    assert y.shape == (2, 2, *size)
    assert y.abs().max() <= 1


def test_less_than_eight_pixels_fail() -> None:
    with pytest.raises(RuntimeError):
        ResNet(3, 3, blocks=1, width=4)(drawn(1, 3, 4, 4))


def test_other_sizes_change() -> None:
    assert ResNet(3, 3, blocks=1, width=4)(drawn(1, 3, 10, 13)).shape != (1, 3, 10, 13)


def test_a_network_without_blocks_works() -> None:
    assert ResNet(3, 3, blocks=0, width=2)(drawn(1, 3, 8, 8)).shape == (1, 3, 8, 8)


def test_nothing_follows_the_sum_of_a_block() -> None:
    block, x = ResidualBlock(2, norm="none", bias=False), drawn(1, 2, 4, 4)
    for convolution in block.conv_block:
        if isinstance(convolution, nn.Conv2d):
            nn.init.zeros_(convolution.weight)
    assert torch.equal(block(x), x)


def averaging(network: nn.Module) -> nn.Module:
    """Positive weights everywhere, so that no influence is cut off by a ReLU or cancels out."""
    for p in network.double().parameters():
        nn.init.constant_(p, 1 / p[0].numel() if p.ndim > 1 else 0)
    return network


def reach(network: nn.Module, size: int, around: range) -> int:
    """How far from an output pixel the farthest input pixel that influences it is."""
    farthest = 0
    for place in around:
        x = torch.full((1, 1, size, size), 0.5, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x)[0, 0, place, place], x)
        seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
        farthest = max(farthest, place - int(seen.min()), int(seen.max()) - place)
    return farthest


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_the_halo_is_exactly_how_far_an_input_reaches(blocks, upsample) -> None:
    network = averaging(ResNet(1, 1, blocks=blocks, width=1, norm="none", upsample=upsample))
    assert reach(network, 96, range(44, 48)) == ResNet.halo(blocks, upsample)


def test_the_halo_holds_beside_a_border_too() -> None:
    network = averaging(ResNet(1, 1, blocks=1, width=1, norm="none"))
    assert reach(network, 48, range(4)) <= ResNet.halo(1)
