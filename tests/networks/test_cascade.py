import pytest
import torch

from i2i.networks.cascade import Cascade, LayerNorm2d

WIDTHS = [1024, 1024, 1024, 1024, 1024, 512, 512, 128, 32]  # at heights of 4 to 1024 pixels, as published
MODULES = [9_625_600, 19_062_784, 19_062_784, 19_062_784, 19_062_784, 7_172_096, 4_812_800, 760_832, 51_968]


def count(network) -> int:
    return sum(p.numel() for p in network.parameters())


def small(images: int = 1, widths=(4, 4, 2), **options) -> Cascade:
    torch.manual_seed(0)
    return Cascade(5, 3, widths=widths, images=images, **options)


def layout(height: int = 8, width: int = 16, batch: int = 1) -> torch.Tensor:
    """A one-hot label map of 5 classes."""
    ids = torch.randint(5, (batch, height, width), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.one_hot(ids, 5).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(
    ("modules", "images", "total"), [(7, 9, 97_875_483), (7, 1, 97_863_171), (8, 1, 98_622_851), (9, 1, 98_674_531)]
)
def test_the_published_sizes_have_the_published_number_of_parameters(modules, images, total) -> None:
    with torch.device("meta"):
        network = Cascade(20, 3, widths=WIDTHS[:modules], images=images)
    assert count(network) == total
    assert [count(module) for module in network.M] == MODULES[:modules]


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 16), (12, 4), (20, 28)])
def test_any_base_makes_images_of_the_size_of_the_layout(height, width) -> None:
    assert small(images=2)(layout(height, width, batch=2)).shape == (2, 2, 3, height, width)


def test_each_module_sees_the_features_below_it_and_then_the_layout_at_its_own_size() -> None:
    network, x, seen = small(), layout(), []
    for module in network.M:
        module.model[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    below = []
    for module in network.M:
        module.register_forward_hook(lambda _, inputs, output: below.append(output))
    network(x)
    assert [t.shape[1:] for t in seen] == [(5, 2, 4), (9, 4, 8), (9, 8, 16)]
    for i, factor in enumerate((4, 2, 1)):
        shrunk = x.unfold(2, factor, factor).unfold(3, factor, factor).mean((4, 5))
        torch.testing.assert_close(seen[i][:, -5:], shrunk)
    larger, corners = seen[1][:, :4], below[0][:, :, :, ::3]  # corners stay where they are, and pixels lie evenly between
    torch.testing.assert_close(larger[:, :, ::3, ::7], corners)
    torch.testing.assert_close(larger[:, :, 1, ::7], corners[:, :, 0] * 2 / 3 + corners[:, :, 1] / 3)


def test_the_images_of_one_pass_come_one_after_another_each_with_its_colours() -> None:
    network = small(images=3)
    with torch.no_grad():
        network.head["3"].weight.zero_()
        network.head["3"].bias.copy_(torch.arange(9.0))
    assert network(layout())[0, :, :, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_values_have_no_bound() -> None:
    network = small()
    with torch.no_grad():
        network.head["3"].bias.fill_(7)
    assert network(layout()).max() > 5


def test_weights_start_as_xavier_and_biases_at_zero() -> None:
    network = small(widths=(64, 64, 32))
    weight = network.M[1].model[3].weight
    bound = (6 / (9 * 64 + 9 * 64)) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    assert network.head["3"].bias.abs().max() == 0


def test_layer_norm_takes_its_statistics_over_the_whole_image_and_scales_channels() -> None:
    norm, x = LayerNorm2d(2), torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, -0.5]))
    mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), correction=0, keepdim=True)
    wanted = (x - mean) / deviation * torch.tensor([2.0, 3.0]).view(1, 2, 1, 1) + torch.tensor([0.5, -0.5]).view(1, 2, 1, 1)
    torch.testing.assert_close(norm(x), wanted)


def test_flat_regions_survive_layer_norm() -> None:
    """Instance norm would make every layout of a single class look the same."""
    network, images = small().eval(), []
    for label in (0, 1):
        x = torch.zeros(1, 5, 16, 16)
        x[:, label] = 1
        images.append(network(x)[0, 0, :, 8, 8])
    assert (images[0] - images[1]).abs().max() > 0.01


def test_layer_norm_of_narrow_numbers_keeps_their_type_and_float32_statistics() -> None:
    x = 300 + torch.randn(1, 4, 64, 64)
    narrow = LayerNorm2d(4)(x.bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), LayerNorm2d(4)(x.bfloat16().float()), rtol=0, atol=0.05)


def test_half_precision_is_close_to_full() -> None:
    network, x = small(widths=(16, 16, 16)), layout()
    with torch.autocast("cpu", torch.bfloat16):
        narrow = network(x)
    assert narrow.dtype == torch.bfloat16
    assert (narrow.float() - network(x)).abs().mean() < 0.05


@pytest.mark.parametrize("train_from", [0, 2])
def test_checkpointing_changes_no_gradient(train_from) -> None:
    def gradients(**options):
        network = small(train_from=train_from, **options)
        network(layout()).square().sum().backward()
        return [p.grad for p in network.parameters()]

    for plain, again in zip(gradients(), gradients(checkpointing=True), strict=True):
        assert (plain is None and again is None) or torch.equal(plain, again)


def test_checkpointing_keeps_nothing_inside_of_modules() -> None:
    def kept(**options) -> int:
        network, sizes = small(widths=(8, 8, 8), **options), {}

        def keep(t):
            sizes[t.untyped_storage().data_ptr()] = t.numel()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            network(layout(32, 32))
        return sum(sizes.values())

    assert kept(checkpointing=True) < 0.6 * kept()


def test_modules_before_the_first_trained_one_have_no_graph() -> None:
    network = small(train_from=2)
    network(layout()).sum().backward()
    assert [all(p.grad is None for p in module.parameters()) for module in network.M] == [True, True, False]
    assert network.head["3"].weight.grad is not None
    trained = {p for part in network.trained() for p in part.parameters()}
    assert trained == {p for p in network.parameters() if p.grad is not None}


def test_a_grown_cascade_takes_all_modules_and_starts_with_a_fresh_head() -> None:
    before, grown = small(images=9), Cascade(5, 3, widths=(4, 4, 2, 2))
    missing, gone = grown.load_state_dict(before.state_dict(), strict=False)
    assert {name.rpartition(".model")[0] or name for name in missing} == {"M.3", "head.4.weight", "head.4.bias", "head.4.wins"}
    assert gone == ["head.3.weight", "head.3.bias", "head.3.wins"]
    assert torch.equal(grown.M[2].model[0].weight, before.M[2].model[0].weight)
