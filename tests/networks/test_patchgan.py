import pytest
import torch
from torch import nn
from torch.nn import functional

from i2i.networks.patchgan import HalvingPatchGAN, MultiScalePatchGAN, PatchGAN, PixelGAN


def side_of(network: nn.Module, size: int, scale: int = 0) -> int:
    return network(torch.zeros(1, 3, size, size))[scale][-1].shape[-1]


def sizes(network: nn.Module, height: int, width: int, channels: int = 3) -> list[list[tuple[int, ...]]]:
    """(channels, height, width) of every map of every scale, without computing them."""
    with torch.device("meta"):
        maps = network.to("meta")(torch.zeros(1, channels, height, width))
    return [[tuple(m.shape[1:]) for m in scale] for scale in maps]


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_each_logit_sees_a_patch_of_the_published_size(layers, field) -> None:
    network = PatchGAN(1, layers=layers, width=1, norm="none").double()
    for p in network.parameters():
        nn.init.constant_(p, 1 / p[0].numel() if p.ndim > 1 else 0)
    x = torch.full((1, 1, 2 * field, 2 * field), 0.5, dtype=torch.float64, requires_grad=True)
    logits = network(x)[0][-1]
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
    logits = network(x)[0][-1]
    assert logits.shape == (2, 1, 7, 5)
    assert network(x[:1, :, :1, :1])[0][-1].shape == (1, 1, 1, 1)
    if norm != "instance":
        changed = x.clone()
        changed[:, :, 3, 2] += 1
        assert (network(changed)[0][-1] != logits).nonzero()[:, 2:].unique(dim=0).tolist() == [[3, 2]]


def test_the_first_convolution_has_no_norm() -> None:
    names = [type(layer).__name__ for layer in PatchGAN(3, layers=1, width=2, norm="instance").model]
    assert names == ["Conv2d", "LeakyReLU", "Conv2d", "InstanceNorm2d", "LeakyReLU", "Conv2d"]


# Maps


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (PatchGAN(3, layers=3, width=2), [[2, 4, 8, 16, 1]]),
        (PixelGAN(3, width=2), [[2, 4, 1]]),
        (MultiScalePatchGAN(3, scales=2, layers=3, width=2), [[2, 4, 8, 16, 1]] * 2),
        (HalvingPatchGAN(3, scales=3, layers=2, width=4), [[4, 8, 16, 1], [2, 4, 8, 1], [1, 2, 4, 1]]),
    ],
)
def test_the_maps_are_what_activations_put_out_and_then_the_logits(network, channels) -> None:
    activations = []
    for layer in network.modules():
        if isinstance(layer, nn.LeakyReLU):
            layer.register_forward_hook(lambda _, __, output: activations.append(output))
    maps = network(torch.randn(1, 3, 96, 96))
    assert [[m.shape[1] for m in scale] for scale in maps] == channels
    assert [m is a for m, a in zip([m for scale in maps for m in scale[:-1]], activations, strict=True)].count(False) == 0


def test_the_maps_reach_both_the_weights_and_the_input() -> None:
    network, x = MultiScalePatchGAN(3, scales=2, layers=2, width=2), torch.randn(1, 3, 16, 16, requires_grad=True)
    sum(m.square().mean() for scale in network(x) for m in scale).backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in network.parameters())


# Several scales


def test_the_maps_of_pix2pixhd_have_the_published_sizes() -> None:
    fine, coarse = sizes(MultiScalePatchGAN(3, norm="none"), 512, 1024)
    assert fine == [(64, 257, 513), (128, 129, 257), (256, 65, 129), (512, 66, 130), (1, 67, 131)]
    assert coarse[0] == (64, 129, 257)
    assert coarse[-1] == (1, 35, 67)
    assert (
        sizes(MultiScalePatchGAN(3, layers=5, scales=1, norm="none"), 64, 64)[0][4][0] == 512
    )  # channels never double past 512


def test_the_maps_of_bicyclegan_have_the_published_sizes() -> None:
    fine, coarse = sizes(HalvingPatchGAN(3, norm="none"), 256, 256)
    assert (fine[0], fine[-1]) == ((64, 128, 128), (1, 30, 30))
    assert (coarse[0], coarse[-1]) == ((32, 64, 64), (1, 14, 14))


def test_the_first_result_is_full_resolution_with_the_weights_of_the_last_key() -> None:
    network, x = MultiScalePatchGAN(3, scales=3, layers=1, width=2), torch.randn(1, 3, 16, 16)
    before = network(x)
    nn.init.zeros_(network.get_submodule("scale2_layer0")[0].weight)
    after = network(x)
    assert [torch.equal(a[-1], b[-1]) for a, b in zip(after, before, strict=True)] == [False, True, True]


def test_weights_of_fewer_scales_fit_into_more() -> None:
    two, three = (MultiScalePatchGAN(3, scales=scales, layers=1, width=2) for scales in (2, 3))
    missing, unexpected = three.load_state_dict(two.state_dict(), strict=False)
    assert not unexpected
    assert {key.split("_")[0] for key in missing} == {"scale2"}
    x = torch.randn(1, 3, 16, 16)
    small = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    for a, b in zip(three(x)[1:], two(small), strict=True):
        assert torch.equal(a[-1], b[-1])


@pytest.mark.parametrize("network", [MultiScalePatchGAN, HalvingPatchGAN])
def test_half_the_resolution_is_a_mean_that_leaves_the_border_as_bright(network) -> None:
    D, x = network(1, scales=2, layers=1, width=2, norm="none"), torch.full((1, 1, 17, 12), 0.7)
    inputs = []
    name = "model_1" if network is HalvingPatchGAN else "scale0_layer0"
    D.get_submodule(name)[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    D(x)
    torch.testing.assert_close(inputs[0], torch.full((1, 1, 9, 6), 0.7))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_several_scales_work_from_their_smallest_side_on(scales, norm) -> None:
    many, smallest = MultiScalePatchGAN(3, scales=scales, layers=2, width=2, norm=norm), MultiScalePatchGAN.smallest(scales)
    assert len(many(torch.randn(1, 3, smallest, smallest))) == scales
    halving, smallest = HalvingPatchGAN(3, scales=scales, layers=2, width=4, norm=norm), HalvingPatchGAN.smallest(2, scales)
    assert side_of(halving, smallest, scale=-1) == 1
    with pytest.raises((RuntimeError, ValueError)):
        side_of(halving, smallest - 1, scale=-1)


def test_the_smallest_sides_in_pixels() -> None:
    assert [MultiScalePatchGAN.smallest(scales) for scales in (1, 2, 3)] == [2, 3, 5]
    assert [HalvingPatchGAN.smallest(3, scales) for scales in (1, 2)] == [PatchGAN.smallest(3), 47]


@pytest.mark.parametrize("network", [MultiScalePatchGAN, HalvingPatchGAN])
def test_every_convolution_has_a_bias_whatever_the_norm(network) -> None:
    for norm in ("batch", "instance", "none"):
        assert all(m.bias is not None for m in network(3, norm=norm, width=8).modules() if isinstance(m, nn.Conv2d))
