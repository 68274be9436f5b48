import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from i2i.networks.refiner import LocalDiscriminator, Refiner


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def averaging(network: nn.Module) -> nn.Module:
    """Positive weights everywhere, so that no influence is cut off by a ReLU or cancels out."""
    for p in network.double().parameters():
        nn.init.constant_(p, 1 / p[0].numel() if p.ndim > 1 else 0)
    return network


def seen(answer: Tensor, x: Tensor) -> tuple[int, int]:
    """The first and the last row of x that one number depends on."""
    (gradient,) = torch.autograd.grad(answer, x)
    rows = gradient[0].abs().sum((0, 2)).nonzero().flatten()
    return int(rows.min()), int(rows.max())


# The refiner


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("size", [(35, 55), (1, 1), (7, 20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_is_kept(channels, size, residual) -> None:
    y = Refiner(channels, width=4, blocks=1, residual=residual)(drawn(2, channels, *size))
    assert y.shape == (2, channels, *size)
    assert y.abs().max() <= 1


def test_the_published_refiners_have_the_published_counts() -> None:
    with torch.device("meta"):
        assert count(Refiner(1)) == 296_129
        assert count(Refiner(3)) == 297_411
        assert count(Refiner(1, kernel=7, blocks=10)) == 4_018_625


@pytest.mark.parametrize(("blocks", "kernel", "halo"), [(4, 3, 9), (10, 7, 63), (0, 3, 1)])
def test_the_halo_is_exactly_how_far_an_input_reaches(blocks, kernel, halo) -> None:
    network = averaging(Refiner(1, width=1, blocks=blocks, kernel=kernel))
    size, place = 2 * halo + 9, halo + 4
    x = torch.full((1, 1, size, size), 1e-3, dtype=torch.float64, requires_grad=True)
    assert seen(network(x)[0, 0, place, place], x) == (place - halo, place + halo)
    assert Refiner.halo(blocks, kernel) == halo


def test_a_residual_refiner_adds_to_its_input_and_stays_in_range() -> None:
    network, x = Refiner(2, width=4, blocks=1, residual=True), drawn(1, 2, 8, 8)
    nn.init.zeros_(network.last.weight)
    nn.init.constant_(network.last.bias, 0.5)
    torch.testing.assert_close(network(x), (x + torch.tensor(0.5).tanh()).clamp(-1, 1))


# The local discriminators


@pytest.mark.parametrize(("kind", "size", "places"), [("eyes", (35, 55), (9, 14)), ("hands", (224, 224), (7, 7))])
def test_a_map_of_local_decisions_comes_out(kind, size, places) -> None:
    (maps,) = LocalDiscriminator(1, kind=kind)(drawn(2, 1, *size))
    assert [m.shape[1] for m in maps] == [96, 64, 32, 32, 1]
    assert maps[-1].shape == (2, 1, *places)
    assert all(m.min() == 0 for m in maps[:-1])


@pytest.mark.parametrize("kind", ["eyes", "hands"])
def test_the_logits_are_not_cut_off_at_zero(kind) -> None:
    network, x = LocalDiscriminator(1, kind=kind), drawn(1, 1, 64, 64)
    nn.init.constant_(network.layers[-1].bias, -5)
    assert network(x)[0][-1].max() < 0


@pytest.mark.parametrize("kind", ["eyes", "hands"])
@pytest.mark.parametrize("size", [(1, 1), (10, 33)])
def test_any_size_can_be_judged(kind, size) -> None:
    assert LocalDiscriminator(3, kind=kind)(drawn(1, 3, *size))[0][-1].numel() >= 1


@pytest.mark.parametrize(("kind", "two_channels"), [("eyes", 75_906), ("hands", 178_050)])
def test_the_counts_are_the_published_ones_but_for_the_second_channel(kind, two_channels) -> None:
    network = LocalDiscriminator(1, kind=kind)
    assert count(network) == two_channels - 33
    network.layers[-1] = nn.Conv2d(32, 2, 1)
    assert count(network) == two_channels


def test_one_logit_pays_what_a_softmax_over_two_would() -> None:
    two, target = drawn(3, 2, 9, 14) * 4, (drawn(3, 1, 9, 14) > 0).long()
    one = two[:, 1:] - two[:, :1]
    torch.testing.assert_close(binary_cross_entropy_with_logits(one, target.float()), cross_entropy(two, target[:, 0]))


@pytest.mark.parametrize(("kind", "field"), [("eyes", 23), ("hands", 71)])
def test_a_place_sees_as_far_as_published(kind, field) -> None:
    network = averaging(LocalDiscriminator(1, kind=kind))
    for layer in network.modules():  # a maximum would let only one of its inputs through
        if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.MaxPool2d):
            layer[0] = nn.AvgPool2d(3, stride=layer[0].stride, padding=1)
    x = torch.full((1, 1, 256, 256), 0.5, dtype=torch.float64, requires_grad=True)
    logits = network(x)[0][-1]
    first, last = seen(logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2], x)
    assert last - first + 1 == field
