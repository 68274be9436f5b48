import pytest
import torch
from torch import Tensor, nn

from i2i.networks.encoder import ConvEncoder, ResidualEncoder

KINDS = [ResidualEncoder, ConvEncoder]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def encoder(kind, **settings) -> nn.Module:
    torch.manual_seed(0)
    return kind(2, 5, **{"blocks": 3, "width": 4, **settings})


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("size", [(8, 8), (9, 15), (16, 40), (33, 50)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_any_size_has_a_mean_and_a_log_variance(kind, size, norm) -> None:
    mu, logvar = encoder(kind, norm=norm).eval()(drawn(2, 2, *size))
    assert mu.shape == logvar.shape == (2, 5)
    assert not torch.equal(mu, logvar)


@pytest.mark.parametrize("kind", KINDS)
def test_smallest_is_the_least_side_that_works(kind) -> None:
    network = encoder(kind).eval()
    assert network.smallest == 8
    network(drawn(1, 2, 8, 8))
    with pytest.raises(RuntimeError):
        network(drawn(1, 2, 7, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_over_the_whole_map(kind) -> None:
    """Published with a fixed window of 8x8, which is the whole map at 64 pixels here."""
    network = encoder(kind).eval()
    features = network.conv[:-2](drawn(2, 2, 64, 64))
    assert features.shape[2:] == (8, 8)
    fixed = nn.functional.avg_pool2d(features, 8).flatten(1)
    torch.testing.assert_close(network(drawn(2, 2, 64, 64))[0], network.fc(fixed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_is_left_as_it_is(kind) -> None:
    y = drawn(1, 2, 16, 16)
    before = y.clone()
    encoder(kind, norm="none")(y)
    assert torch.equal(y, before)


@pytest.mark.parametrize(
    ("kind", "blocks", "count"),
    [
        (ResidualEncoder, 5, 2_590_032),
        (ResidualEncoder, 4, 1_344_080),
        (ConvEncoder, 5, 2_760_656),
        (ConvEncoder, 4, 1_711_824),
    ],
)
def test_the_published_counts(kind, blocks, count) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in kind(3, 8, blocks=blocks).parameters()) == count
