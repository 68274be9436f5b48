import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from i2i.errors import UserError
from i2i.networks.layers import (
    BatchNorm2d,
    InstanceNorm2d,
    ReflectionPad2d,
    ResizeConv2d,
    fitted,
    frozen,
    image_norms,
    in_one_pass,
    initialise,
    is_per_image,
    needs_bias,
    norm_layer,
    spectrally_normalised,
    together,
    with_image_statistics,
    with_running_statistics,
)
from i2i.networks.patchgan import PatchGAN

BF16 = torch.bfloat16


def bf16_region():
    return torch.autocast("cpu", BF16)


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Instance norm


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 5, 7, 9), (3, 8, 16, 4)])
def test_instance_norm_is_the_one_of_torch(dtype, tolerance, shape) -> None:
    x, weights = 3 * drawn(*shape, dtype=dtype) + 1, drawn(*shape, seed=1, dtype=dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, reference = InstanceNorm2d()(ours), nn.InstanceNorm2d(shape[1])(theirs)
    torch.testing.assert_close(y, reference, rtol=0, atol=tolerance)
    (y * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=10 * tolerance)


def test_instance_norm_has_nothing_to_store() -> None:
    assert not InstanceNorm2d().state_dict()


def test_instance_norm_of_bfloat16_computes_its_statistics_in_float32() -> None:
    x = (drawn(2, 3, 64, 64) + 20).to(BF16)  # far from 0, where narrow sums go wrong
    exact = nn.InstanceNorm2d(3)(x.double())

    def error(y: torch.Tensor) -> float:
        return (y.double() - exact).abs().max().item()

    assert error(InstanceNorm2d()(x)) < 0.02
    assert error(InstanceNorm2d()(x)) <= error(nn.InstanceNorm2d(3)(x))


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_instance_norm_keeps_its_dtype_under_autocast(dtype) -> None:
    with bf16_region():
        assert InstanceNorm2d()(drawn(1, 2, 4, 4).to(dtype)).dtype == dtype


@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_turns_a_map_of_one_pixel_into_zeros(batch) -> None:
    assert torch.equal(InstanceNorm2d()(drawn(batch, 3, 1, 1)), torch.zeros(batch, 3, 1, 1))


def test_instance_norm_can_be_differentiated_twice() -> None:
    x = drawn(1, 2, 3, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(InstanceNorm2d(), x)


# Batch norm


def batch_norm(channels: int = 3) -> BatchNorm2d:
    norm = BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.copy_(drawn(channels, seed=2) + 1)
        norm.bias.copy_(drawn(channels, seed=3))
        norm.running_mean.fill_(7)
    return norm


def test_batch_norm_is_the_one_of_torch_unless_asked() -> None:
    norm, reference, x = batch_norm(), nn.BatchNorm2d(3), drawn(2, 3, 4, 4)
    reference.load_state_dict(norm.state_dict())
    assert torch.equal(norm(x), reference(x))
    assert torch.equal(norm.eval()(x), reference.eval()(x))


def test_image_statistics_are_those_of_a_training_pass_of_one_image() -> None:
    norm, x = batch_norm(), drawn(4, 3, 5, 6)
    alone = torch.cat([norm.train()(image[None]) for image in x])
    with_image_statistics(norm)
    before = {key: t.clone() for key, t in norm.state_dict().items()}
    torch.testing.assert_close(norm.eval()(x), alone, rtol=0, atol=2e-6)
    assert all(torch.equal(t, before[key]) for key, t in norm.state_dict().items())


def test_image_statistics_make_an_image_independent_of_its_batch() -> None:
    norm, x = with_image_statistics(batch_norm()).eval(), drawn(4, 3, 5, 6)
    x[1:] *= 100
    assert torch.equal(norm(x)[:1], norm(x[:1]))


def test_image_statistics_do_not_change_training() -> None:
    asked, plain, x = with_image_statistics(batch_norm()), batch_norm(), drawn(2, 3, 4, 4)
    assert torch.equal(asked(x), plain(x))
    assert torch.equal(asked.running_mean, plain.running_mean)


def test_image_statistics_keep_bfloat16_under_autocast() -> None:
    norm = with_image_statistics(batch_norm()).eval()
    with bf16_region():
        assert norm(drawn(1, 3, 4, 4).to(BF16)).dtype == BF16


def test_running_statistics_are_those_that_training_has_left() -> None:
    norm, x = with_image_statistics(batch_norm()), drawn(2, 3, 4, 4)
    norm.train()(drawn(2, 3, 4, 4) * 3)
    by_hand = (x - norm.running_mean.view(3, 1, 1)) / (norm.running_var.view(3, 1, 1) + norm.eps).sqrt()
    by_hand = by_hand * norm.weight.view(3, 1, 1) + norm.bias.view(3, 1, 1)
    assert not torch.allclose(norm.eval()(x), by_hand, atol=1e-2)
    torch.testing.assert_close(with_running_statistics(norm)(x), by_hand, rtol=0, atol=2e-6)
    assert image_norms(norm) == []


def test_running_statistics_are_refused_where_nothing_has_gathered_any() -> None:
    for network in (nn.Sequential(InstanceNorm2d()), with_image_statistics(BatchNorm2d(3))):
        with pytest.raises(UserError, match="no statistics of its training, which batch norm alone gathers"):
            with_running_statistics(network)
        assert len(image_norms(network)) == 1


# Channels-last


def last(x: torch.Tensor) -> torch.Tensor:
    """The same with the channels of a pixel side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def norms_by_image(channels: int) -> list[nn.Module]:
    return [InstanceNorm2d(), with_image_statistics(batch_norm(channels)).eval()]


@pytest.mark.parametrize(
    "shape", [(1, 3, 5, 7), (3, 4, 100, 90), (1, 2, 1, 5000), (1, 2, 5000, 1), (2, 3, 1, 1), (1, 1, 60, 60)]
)
@torch.no_grad()
def test_norms_by_image_are_the_same_in_channels_last_and_stay_there(shape) -> None:
    x = 2 * drawn(*shape) + 1
    for norm in norms_by_image(shape[1]):
        y = norm(last(x))
        torch.testing.assert_close(y, norm(x), rtol=0, atol=1e-5)
        assert y.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_statistics_of_many_pixels_in_channels_last_are_not_one_long_sum() -> None:
    x = drawn(1, 2, 1500, 1500) + 30
    assert (InstanceNorm2d()(last(x)) - InstanceNorm2d()(x)).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@torch.no_grad()
def test_in_channels_last_too_an_image_is_independent_of_its_batch(dtype) -> None:
    x = last(drawn(3, 3, 40, 70).to(dtype))
    for norm in norms_by_image(3):
        assert torch.equal(norm(x), torch.cat([norm(image) for image in x.split(1)]))


@torch.no_grad()
def test_in_channels_last_too_statistics_of_bfloat16_are_in_float32() -> None:
    x = (drawn(1, 3, 64, 64) + 20).to(BF16)
    with bf16_region():
        y = InstanceNorm2d()(last(x))
    assert y.dtype == BF16
    assert (y.double() - nn.InstanceNorm2d(3)(x.double())).abs().max() < 0.02


def test_norms_by_image_can_be_differentiated_in_channels_last() -> None:
    x, weights = drawn(2, 3, 6, 5), drawn(2, 3, 6, 5, seed=1)
    for norm in norms_by_image(3):
        gradients = [torch.autograd.grad((norm(y) * weights).sum(), y)[0] for y in (x.requires_grad_(), last(x))]
        torch.testing.assert_close(*gradients)


# Padding and upsampling


def test_reflection_pad_keeps_bfloat16_under_autocast_and_mirrors() -> None:
    x = drawn(1, 1, 5, 5).to(BF16)
    with bf16_region():
        y = ReflectionPad2d(2)(x)
    assert y.dtype == BF16
    assert torch.equal(y, functional.pad(x.float(), [2] * 4, mode="reflect").to(BF16))


def test_resize_conv_doubles_the_size_and_has_the_keys_of_a_transposed_convolution() -> None:
    layer, transposed = ResizeConv2d(4, 2, bias=True), nn.ConvTranspose2d(4, 2, 4)
    assert layer(drawn(2, 4, 3, 5)).shape == (2, 2, 6, 10)
    assert layer(drawn(1, 4, 1, 1)).shape == (1, 2, 2, 2)
    assert list(layer.state_dict()) == list(transposed.state_dict())
    assert layer.weight.shape == (2, 4, 3, 3)


def test_resize_conv_leaves_a_constant_without_a_checkerboard() -> None:
    y = ResizeConv2d(2, 2, bias=True)(torch.ones(1, 2, 4, 4))
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


# Norms by name


@pytest.mark.parametrize(
    ("name", "kind", "bias"), [("batch", BatchNorm2d, False), ("instance", InstanceNorm2d, True), ("none", nn.Identity, False)]
)
def test_norms_by_name_and_their_bias_rule(name, kind, bias) -> None:
    assert isinstance(norm_layer(name)(8), kind)
    assert needs_bias(name) is bias


# Passes together


def test_one_pass_equals_separate_passes_where_images_do_not_mix() -> None:
    network = PatchGAN(3, layers=2, width=4, norm="instance")
    a, b = drawn(2, 3, 16, 16), drawn(1, 3, 16, 16, seed=1)
    joined = in_one_pass(network, a, b)
    assert [len(maps[0][-1]) for maps in joined] == [2, 1]
    for maps, x in zip(joined, (a, b), strict=True):
        torch.testing.assert_close(maps, network(x), rtol=1e-5, atol=1e-7)


def test_a_network_that_answers_with_one_tensor_can_be_run_in_one_pass_too() -> None:
    network, a, b = nn.Conv2d(3, 2, 1), drawn(2, 3, 4, 4), drawn(1, 3, 4, 4, seed=1)
    for y, x in zip(in_one_pass(network, a, b), (a, b), strict=True):
        torch.testing.assert_close(y, network(x))


def test_together_takes_inputs_of_different_sizes() -> None:
    network = PatchGAN(3, layers=1, width=4, norm="instance")
    small, large = together(network, drawn(1, 3, 8, 8), drawn(1, 3, 16, 16))
    assert small[0][-1].shape[2:] != large[0][-1].shape[2:]


def calls(network: nn.Module, *inputs: torch.Tensor) -> int:
    count = 0

    def hook(*_) -> None:
        nonlocal count
        count += 1

    with network.register_forward_hook(hook):
        together(network, *inputs)
    return count


@pytest.mark.parametrize(
    ("norm", "spectral", "passes"),
    [("instance", False, 1), ("none", False, 1), ("batch", False, 2), ("none", True, 2)],
)
def test_together_makes_one_pass_where_it_can_and_pays(norm, spectral, passes) -> None:
    network, x = PatchGAN(3, layers=1, width=4, norm=norm), drawn(1, 3, 16, 16)
    network = spectrally_normalised(network) if spectral else network
    assert calls(network, x, x) == 2  # float32 on the CPU
    with bf16_region():
        assert calls(network, x, x) == passes


def test_together_leaves_the_running_statistics_of_separate_passes() -> None:
    torch.manual_seed(0)
    joined = PatchGAN(3, layers=1, width=4, norm="batch")
    apart = PatchGAN(3, layers=1, width=4, norm="batch")
    apart.load_state_dict(joined.state_dict())
    a, b = drawn(1, 3, 16, 16), drawn(1, 3, 16, 16, seed=1)
    torch.testing.assert_close(together(joined, a, b), (apart(a), apart(b)), rtol=0, atol=0)
    assert joined.state_dict()["model.3.num_batches_tracked"] == 2
    assert all(torch.equal(t, apart.state_dict()[key]) for key, t in joined.state_dict().items())


def test_together_leaves_the_power_iteration_of_separate_passes() -> None:
    joined = spectrally_normalised(PatchGAN(3, layers=1, width=4, norm="none"))
    apart = spectrally_normalised(PatchGAN(3, layers=1, width=4, norm="none"))
    apart.load_state_dict(joined.state_dict())
    a, b = drawn(1, 3, 16, 16), drawn(1, 3, 16, 16, seed=1)
    together(joined, a, b)
    apart(a)
    apart(b)
    assert all(torch.equal(t, apart.state_dict()[key]) for key, t in joined.state_dict().items())


def test_only_networks_without_shared_state_are_per_image() -> None:
    assert is_per_image(PatchGAN(3, norm="instance", width=1))
    assert is_per_image(PatchGAN(3, norm="none", width=1))
    assert not is_per_image(PatchGAN(3, norm="batch", width=1))
    assert not is_per_image(spectrally_normalised(PatchGAN(3, norm="none", width=1)))


# Spectral norm


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    torch.manual_seed(0)
    network = spectrally_normalised(PatchGAN(3, layers=2, width=8, norm="none"))
    for _ in range(30):
        network(drawn(1, 3, 16, 16))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            value = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            assert value == pytest.approx(1, abs=0.02)


def test_spectral_norm_keys_and_gradients() -> None:
    network = spectrally_normalised(PatchGAN(3, layers=1, width=4, norm="none"))
    keys = [key for key in network.state_dict() if key.startswith("model.0.")]
    assert keys == [
        "model.0.bias",
        "model.0.parametrizations.weight.original",
        "model.0.parametrizations.weight.0._u",
        "model.0.parametrizations.weight.0._v",
    ]
    assert parametrize.is_parametrized(network.model[0])
    network(drawn(1, 3, 16, 16))[0][-1].mean().backward()
    assert all(p.grad is not None for p in network.parameters())


# Initialisation


def large() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(64, 64, 4), nn.BatchNorm2d(4096), nn.ConvTranspose2d(64, 64, 4), nn.Linear(256, 256))


@pytest.mark.parametrize(
    ("kind", "gain", "deviation"),
    [
        ("normal", 0.02, 0.02),
        ("xavier", 0.02, 0.02 * (2 / 2048) ** 0.5),
        ("kaiming", 0.02, (2 / 1024) ** 0.5),
        ("orthogonal", 1.0, 1 / 32),
    ],
)
def test_initial_weights_have_the_published_statistics(kind, gain, deviation) -> None:
    network = large()
    torch.manual_seed(0)
    initialise(network, kind, gain)
    for layer in (network[0], network[2]):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.03)
        assert abs(layer.weight.mean().item()) < 0.05 * deviation
        assert not layer.bias.any()
    assert network[1].weight.std().item() == pytest.approx(gain, rel=0.05)
    assert network[1].weight.mean().item() == pytest.approx(1, abs=0.05 * gain)
    assert not network[1].bias.any()


def test_orthogonal_weights_are_orthogonal_times_the_gain() -> None:
    layer = nn.Conv2d(3, 8, 3)
    initialise(layer, "orthogonal", 0.5)
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(8), rtol=0, atol=1e-6)


def test_the_seed_decides_the_initial_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        layer = nn.Conv2d(3, 4, 3)
        initialise(layer)
        return layer.weight.detach()

    assert torch.equal(weights(5), weights(5))
    assert not torch.equal(weights(5), weights(6))


# A fixed function, and any size


def test_gradients_flow_through_a_frozen_network_and_none_into_it() -> None:
    network, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    frozen(network)(x).sum().backward()
    torch.testing.assert_close(x.grad, network.weight.detach().sum(0).expand(4, 3))
    assert network.weight.grad is None
    assert network.bias.grad is None
    assert network.weight.requires_grad


def test_a_frozen_network_computes_what_the_network_computes() -> None:
    network = spectrally_normalised(PatchGAN(3, layers=1, width=4, norm="batch")).eval()
    x = drawn(2, 3, 16, 16)
    torch.testing.assert_close(frozen(network)(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (19, 23), (16, 31)])
def test_a_fitted_network_takes_any_size_and_gives_it_back(size) -> None:
    seen = []

    def halving(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    x = drawn(1, 2, *size)
    assert torch.equal(fitted(halving, x, 8), x)
    assert all(side % 8 == 0 for side in seen[0].shape[2:])
    assert torch.equal(seen[0][..., : size[0], : size[1]], x)
