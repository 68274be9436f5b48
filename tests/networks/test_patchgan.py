import pytest
import torch
from torch import nn

from i2i.networks.patchgan import PatchGAN, PixelGAN


def side_of(network: nn.Module, size: int) -> int:
    return network(torch.zeros(1, 3, size, size)).shape[-1]


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_each_logit_sees_a_patch_of_the_published_size(layers, field) -> None:
    network = PatchGAN(1, layers=layers, width=1, norm="none").double()
    for p in network.parameters():
        nn.init.constant_(p, 1 / p[0].numel() if p.ndim > 1 else 0)
    x = torch.full((1, 1, 2 * field, 2 * field), 0.5, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == field


@pytest.mark.parametrize(("layers", "side"), [(1, 126), (2, 62), (3, 30), (4, 14), (5, 6)])
def test_the_map_of_256_pixels_has_the_published_size(layers, side) -> None:
    with torch.device("meta"):
        assert side_of(PatchGAN(3, layers=layers, width=1), 256) == side


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_side_leaves_one_logit_and_one_pixel_less_none(layers, norm) -> None:
    network, smallest = PatchGAN(3, layers=layers, width=2, norm=norm), PatchGAN.smallest(layers)
    assert side_of(network, smallest) == 1
    with pytest.raises((RuntimeError, ValueError)):  # batch norm refuses a single value first
        side_of(network, smallest - 1)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_a_pixel_discriminator_judges_each_pixel_alone(norm) -> None:
    network, x = PixelGAN(3, width=4, norm=norm).eval(), torch.randn(2, 3, 7, 5)
    assert network(x).shape == (2, 1, 7, 5)
    assert network(x[:1, :, :1, :1]).shape == (1, 1, 1, 1)
    if norm != "instance":
        changed = x.clone()
        changed[:, :, 3, 2] += 1
        assert (network(changed) != network(x)).nonzero()[:, 2:].unique(dim=0).tolist() == [[3, 2]]


def test_the_first_convolution_has_no_norm() -> None:
    names = [type(layer).__name__ for layer in PatchGAN(3, layers=1, width=2, norm="instance").model]
    assert names == ["Conv2d", "LeakyReLU", "Conv2d", "InstanceNorm2d", "LeakyReLU", "Conv2d"]
