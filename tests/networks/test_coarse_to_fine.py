import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from i2i.networks.coarse_to_fine import FeatureEncoder, GlobalGenerator, LocalEnhancer

SMALL = {"width": 2, "halvings": 2, "blocks": 1}


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize(
    ("network", "more", "stride"), [(GlobalGenerator, {}, 4), (LocalEnhancer, {}, 8), (LocalEnhancer, {"enhancers": 2}, 16)]
)
def test_an_image_comes_out_in_the_size_of_the_input(network, more, stride, upsample, norm) -> None:
    G = network(5, 2, **SMALL, **more, norm=norm, upsample=upsample)
    y = G(torch.randn(2, 5, 2 * stride, 5 * stride))
    assert y.shape == (2, 2, 2 * stride, 5 * stride)
    assert y.abs().max() <= 1


def test_features_come_out_in_the_size_of_the_image() -> None:
    features = FeatureEncoder(3, 4, width=2, halvings=2)(torch.randn(2, 3, 16, 24))
    assert features.shape == (2, 4, 16, 24)
    assert features.abs().max() <= 1


def test_every_convolution_has_a_bias_whatever_the_norm() -> None:
    for norm in ("instance", "batch"):
        for upsample in ("transposed", "resize"):
            G = LocalEnhancer(3, 3, **SMALL, norm=norm, upsample=upsample)
            assert all(m.bias is not None for m in G.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))


def test_the_other_upsampling_changes_no_key() -> None:
    transposed, resize = (LocalEnhancer(3, 3, **SMALL, upsample=upsample) for upsample in ("transposed", "resize"))
    assert list(transposed.state_dict()) == list(resize.state_dict())
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in resize.modules())


# Coarse to fine


def test_weights_of_the_global_generator_fit_into_the_local_one_but_for_its_last_convolution() -> None:
    inside, whole = GlobalGenerator(3, 3, **SMALL), LocalEnhancer(3, 3, **{**SMALL, "width": 1})
    missing, unexpected = whole.load_state_dict(inside.state_dict(), strict=False)
    last = list(inside.state_dict())[-2:]
    assert unexpected == last
    assert {key.split(".")[0] for key in missing} == {"model1_1", "model1_2"}


def test_each_ring_adds_its_features_to_those_from_inside() -> None:
    """The forward pass, written out for two rings."""
    G, x = LocalEnhancer(3, 3, width=1, halvings=1, blocks=1, enhancers=2, local_blocks=1), torch.randn(1, 3, 16, 24)
    half = avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    quarter = avg_pool2d(half, 3, 2, 1, count_include_pad=False)
    y = G.model1_2(G.model1_1(half) + G.model(quarter))
    expected = G.model2_2(G.model2_1(x) + y)
    torch.testing.assert_close(G(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("enhancers", [1, 2, 3])
def test_the_outermost_ring_is_the_finest_part_and_all_else_is_coarse(enhancers) -> None:
    G = LocalEnhancer(3, 3, width=1, halvings=1, blocks=1, enhancers=enhancers)
    finest = {p for part in G.finest() for p in part.parameters()}
    coarse = {p for part in G.coarse() for p in part.parameters()}
    assert not finest & coarse
    assert finest | coarse == set(G.parameters())
    assert {name.split("_")[0] for name, p in G.named_parameters() if p in finest} == {f"model{enhancers}"}


def test_all_of_a_global_generator_is_its_finest_part() -> None:
    G = GlobalGenerator(3, 3, **SMALL)
    assert {p for part in G.finest() for p in part.parameters()} == set(G.parameters())
    assert G.coarse() == []


def test_the_input_of_g1_is_the_mean_that_leaves_the_border_as_bright() -> None:
    G, seen = LocalEnhancer(1, 1, **SMALL), []
    G.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    G(torch.full((1, 1, 16, 16), 0.7))
    torch.testing.assert_close(seen[0], torch.full((1, 1, 8, 8), 0.7))


# Reach


def reach(G: nn.Module, size: int) -> int:
    """How far from any output pixel an input pixel has a share in it."""
    G.double()
    for p in G.parameters():
        nn.init.constant_(p, 1 / p[0].numel() if p.ndim > 1 else 0)
    farthest, row = 0, size // 2
    for column in range(size // 2, size // 2 + 16):
        x = torch.full((1, 1, size, size), 0.01, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(G(x)[0, 0, row, column], x)
        seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
        farthest = max(farthest, column - int(seen.min()), int(seen.max()) - column)
    return farthest


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize(("halvings", "blocks"), [(1, 0), (2, 1), (3, 0)])
def test_no_input_beyond_the_halo_has_a_share_in_an_output(halvings, blocks, upsample) -> None:
    G = GlobalGenerator(1, 1, width=1, halvings=halvings, blocks=blocks, norm="none", upsample=upsample)
    halo = GlobalGenerator.halo(halvings, blocks, upsample)
    assert reach(G, 160) == halo


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize(("enhancers", "local_blocks"), [(1, 0), (1, 2), (2, 1)])
def test_no_input_beyond_the_halo_of_a_local_enhancer_has_a_share_in_an_output(enhancers, local_blocks, upsample) -> None:
    sizes = {"halvings": 1, "blocks": 0, "enhancers": enhancers, "local_blocks": local_blocks, "upsample": upsample}
    halo = LocalEnhancer.halo(**sizes)
    assert halo - 2**enhancers < reach(LocalEnhancer(1, 1, width=1, norm="none", **sizes), 192) <= halo
