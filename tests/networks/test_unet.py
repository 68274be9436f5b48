import copy

import pytest
import torch
from torch import Tensor, nn

from i2i.networks.layers import initialise
from i2i.networks.unet import UNet


def unet(**settings) -> UNet:
    torch.manual_seed(0)
    network = UNet(3, 2, **{"depth": 4, "width": 4, **settings})
    initialise(network, gain=0.3)
    return network


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(("depth", "size"), [(2, (4, 4)), (2, (12, 20)), (4, (16, 16)), (4, (48, 80)), (5, (32, 96))])
def test_any_odd_multiple_of_the_stride_keeps_its_size(depth, size, norm, upsample) -> None:
    y = unet(depth=depth, norm=norm, upsample=upsample)(drawn(1, 3, *size))
    assert y.shape == (1, 2, *size)
    assert y.abs().max() <= 1


@pytest.mark.parametrize("size", [(15, 16), (16, 20), (8, 8)])
def test_other_sizes_fail(size) -> None:
    with pytest.raises(RuntimeError):
        unet(norm="instance")(drawn(1, 3, *size))


def test_width_doubles_up_to_eight_times() -> None:
    network = UNet(3, 3, depth=6, width=2)
    downs = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert downs == [2, 4, 8, 16, 16, 16]


def not_in_place(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return network


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_in_place_activations_change_neither_pictures_nor_gradients(norm) -> None:
    """Without them the skips carry x instead of LeakyReLU(x); the ReLU behind every join makes both the same."""
    network, x = unet(norm=norm), drawn(2, 3, 32, 32)
    reference = not_in_place(network)
    y, expected = network(x), reference(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    y.square().mean().backward()
    expected.square().mean().backward()
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-7)


def test_the_input_image_is_left_as_it_is() -> None:
    x = drawn(1, 3, 16, 16)
    before = x.clone()
    unet()(x)
    assert torch.equal(x, before)


def test_every_pixel_can_see_the_whole_image() -> None:
    x = drawn(1, 3, 32, 32).requires_grad_()
    y = unet(depth=5, norm="none")(x)
    (gradient,) = torch.autograd.grad(y[0, :, 0, 0].sum(), x)
    assert gradient[0, :, -2:, -2:].abs().max() > 0


def test_dropout_works_in_training_only() -> None:
    network, x = unet(depth=6, width=2, norm="instance", dropout=True), drawn(1, 3, 64, 64)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("depth", [2, 3])
def test_the_halo_is_how_far_an_input_reaches(depth, upsample) -> None:
    torch.manual_seed(0)
    network, side = UNet(1, 1, depth=depth, width=2, norm="none", upsample=upsample).double(), 2 ** (depth + 4)
    x = torch.randn(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    y, farthest = network(x), 0
    for place in range(side // 2, side // 2 + 2**depth):
        (gradient,) = torch.autograd.grad(y[0, 0, place, place], x, retain_graph=True)
        reached = gradient[0, 0].abs().sum(1).nonzero().flatten()
        farthest = max(farthest, int((reached - place).abs().max()))
    assert farthest == UNet.halo(depth)
