import pytest
import torch
from torch import Tensor, nn

from i2i.networks.latent_unet import LatentUNet
from i2i.networks.layers import initialise

WHERE = ["all", "input"]


def unet(**settings) -> LatentUNet:
    torch.manual_seed(0)
    network = LatentUNet(3, 2, **{"z": 5, "depth": 4, "width": 4, **settings})
    initialise(network, gain=0.3)
    return network


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("upsample", ["transposed", "resize", "bilinear"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("depth", "size"), [(2, (4, 4)), (4, (48, 80)), (5, (32, 96))])
def test_any_multiple_of_the_stride_keeps_its_size(depth, size, where, norm, upsample) -> None:
    y = unet(depth=depth, where=where, norm=norm, upsample=upsample)(drawn(2, 3, *size), drawn(2, 5))
    assert y.shape == (2, 2, *size)
    assert y.abs().max() <= 1


@pytest.mark.parametrize("size", [(15, 16), (16, 20), (8, 8)])
def test_other_sizes_fail(size) -> None:
    with pytest.raises(RuntimeError):
        unet()(drawn(1, 3, *size), drawn(1, 5))


def channels_taken(network: nn.Module) -> list[int]:
    return [layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def test_the_code_enters_where_it_is_asked_to() -> None:
    assert channels_taken(unet(where="all", depth=5, width=2)) == [3 + 5, 2 + 5, 4 + 5, 8 + 5, 16 + 5]
    assert channels_taken(unet(where="input", depth=5, width=2)) == [3 + 5, 2, 4, 8, 16]


def test_every_level_hears_the_code() -> None:
    network = unet(norm="none")
    for layer in network.modules():  # deaf at the input: what is left must come through the levels below
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 + 5:
            nn.init.zeros_(layer.weight[:, 3:])
    levels = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels > 3 + 5]
    z = drawn(1, 5)
    for chosen in levels:
        kept = {layer: layer.weight.detach().clone() for layer in levels}
        for layer in levels:
            if layer is not chosen:
                nn.init.zeros_(layer.weight[:, -5:])
        x = drawn(1, 3, 16, 16)
        assert not torch.allclose(network(x, z), network(x, -z), atol=1e-4)
        for layer, weight in kept.items():
            layer.weight.data.copy_(weight)


@pytest.mark.parametrize("where", WHERE)
def test_each_image_of_a_batch_has_its_own_code(where) -> None:
    network, x, z = unet(where=where).eval(), drawn(1, 3, 16, 16), drawn(2, 5)
    both = network(x.expand(2, -1, -1, -1), z)
    torch.testing.assert_close(both[:1], network(x, z[:1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1:], network(x, z[1:]), rtol=0, atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-3)


@pytest.mark.parametrize("where", WHERE)
def test_what_it_is_given_is_left_as_it_is(where) -> None:
    x, z = drawn(1, 3, 16, 16), drawn(1, 5)
    before = x.clone(), z.clone()
    unet(where=where)(x, z)
    assert torch.equal(x, before[0])
    assert torch.equal(z, before[1])


@pytest.mark.parametrize("where", WHERE)
def test_in_place_activations_change_no_gradient(where) -> None:
    network, reference = unet(where=where), unet(where=where)
    for layer in reference.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
    x, z = drawn(2, 3, 32, 32), drawn(2, 5)
    for one in (network, reference):
        one(x, z).square().mean().backward()
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("where", WHERE)
def test_dropout_sits_in_the_middle_levels_only(where) -> None:
    with torch.device("meta"):
        networks = [LatentUNet(3, 3, z=8, where=where, depth=d, dropout=True) for d in (4, 5, 6, 7, 8)]
    assert [sum(isinstance(m, nn.Dropout) for m in n.modules()) for n in networks] == [0, 0, 1, 2, 3]


def test_dropout_works_in_training_only_and_leaves_the_keys_alone() -> None:
    network, x, z = unet(depth=6, width=2, dropout=True), drawn(1, 3, 64, 64), drawn(1, 5)
    assert not torch.equal(network(x, z), network(x, z))
    network.eval()
    assert torch.equal(network(x, z), network(x, z))
    assert list(network.state_dict()) == list(unet(depth=6, width=2).state_dict())


def test_bfloat16_is_not_widened_by_the_code() -> None:
    network, taken = unet(), []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(drawn(1, 3, 16, 16), drawn(1, 5))
    assert taken[1:] == 3 * [torch.bfloat16]  # the first takes the image


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"depth": 8}, 54_794_627),
        ({"depth": 8, "where": "input"}, 54_417_795),
        ({"depth": 8, "upsample": "bilinear"}, 39_538_435),
        ({"depth": 8, "where": "input", "upsample": "bilinear"}, 39_161_603),
        ({"depth": 7}, 42_145_155),
    ],
)
def test_the_published_counts(settings, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in LatentUNet(3, 3, z=8, **settings).parameters()) == count
