import pytest
import torch

from i2i.errors import UserError
from i2i.losses.matching import (
    feature_matching,
    gram,
    l1,
    region_l1,
    style,
    total_variation,
)
from i2i.networks.patchgan import Maps


def test_l1_is_the_mean_absolute_difference() -> None:
    a, b = torch.tensor([[[[1.0, -1.0], [0.5, 0.0]]]]), torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])
    assert l1(a, b).item() == pytest.approx((1 + 2 + 0 + 0.5) / 4)


def test_l1_pulls_every_pixel_with_the_same_force() -> None:
    a = torch.tensor([3.0, -0.1, 1.0, 0.0], requires_grad=True)
    l1(a, torch.zeros(4)).backward()
    assert a.grad.tolist() == [0.25, -0.25, 0.25, 0.0]


def test_l1_of_narrow_images_is_summed_in_float32() -> None:
    a = torch.full((1, 1, 64, 64), 1 + 2**-7, dtype=torch.bfloat16)
    loss = l1(a, torch.zeros_like(a))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1 + 2**-7, rel=1e-6)


def test_l1_keeps_float64() -> None:
    assert l1(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)).dtype == torch.float64


# Where it matters most


def test_a_region_counts_its_pixels_more_often() -> None:
    a = torch.tensor([[[[1.0, -1.0], [0.5, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]])
    region = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    by_hand = (1 * 4 + 1 * 2.5 + 0.5 + 2 * 2.5) / 8
    assert region_l1(a, torch.zeros_like(a), region, 3).item() == pytest.approx(by_hand)


def test_without_a_region_or_a_weight_it_is_l1() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    nowhere, somewhere = torch.zeros(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(region_l1(a, b, nowhere, 5), l1(a, b))
    torch.testing.assert_close(region_l1(a, b, somewhere, 0), l1(a, b))


def test_each_image_has_its_own_region_and_pulls_harder_there() -> None:
    a = torch.ones(2, 1, 2, 2, requires_grad=True)
    region = torch.zeros(2, 1, 2, 2)
    region[1, 0, 0, 1] = 1
    region_l1(a, torch.zeros(2, 1, 2, 2), region, 7).backward()
    assert a.grad.flatten().tolist() == [1 / 8] * 5 + [1.0] + [1 / 8] * 2


# Features of a discriminator


def maps(*scales: tuple[float, ...]) -> Maps:
    """Maps that are one number each; the size shrinks with the scale and the layer."""
    return [
        [torch.full((2, 3, 8 - k, 9 - n), float(number), requires_grad=True) for n, number in enumerate(numbers)]
        for k, numbers in enumerate(scales)
    ]


def test_feature_matching_is_the_published_sum() -> None:
    """Per scale and layer: L1 * 1 / num_D * 4 / (n_layers_D + 1), here with 2 scales and 4 layers before the logits."""
    fake, real = maps((1, 2, 3, 4, 99), (5, 6, 7, 8, 99)), maps((0, 0, 0, 0, 0), (1, 1, 1, 1, 0))
    assert feature_matching(fake, real).item() == pytest.approx((1 + 2 + 3 + 4 + 4 + 5 + 6 + 7) * (1 / 2) * (4 / 4))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_number_of_layers_does_not_change_its_scale(layers) -> None:
    fake, real = maps((2,) * layers + (99,)), maps((0,) * layers + (0,))
    assert feature_matching(fake, real).item() == pytest.approx(2 * layers * 4 / layers)


def test_feature_matching_reaches_the_fake_side_only_and_never_the_logits() -> None:
    fake, real = maps((1, 2, 3)), maps((0, 0, 0))
    feature_matching(fake, real).backward()
    assert [layer.grad is not None for layer in fake[0]] == [True, True, False]
    assert all(layer.grad is None for layer in real[0])
    numbers = 2 * 3 * 8 * 9
    torch.testing.assert_close(fake[0][0].grad, torch.full((2, 3, 8, 9), 4 / 2 / numbers))


def test_without_detaching_it_is_the_same_number_and_reaches_both_sides() -> None:
    fake, real = maps((1, 2, 3), (4, 5, 6)), maps((0, 3, 0), (9, 0, 0))
    distance = feature_matching(fake, real, detach_real=False)
    assert distance.item() == feature_matching(fake, real).item()
    distance.backward()
    for a, b in zip(fake, real, strict=True):
        assert all(torch.equal(p.grad, -q.grad) for p, q in zip(a[:-1], b[:-1], strict=True))


@pytest.mark.parametrize("logits", [((1,), (2,)), ()])
def test_a_discriminator_of_logits_alone_has_nothing_to_match(logits) -> None:
    with pytest.raises(UserError, match="no layers to match") as caught:
        feature_matching(maps(*logits), maps(*logits))
    assert "lambda_feat" in caught.value.hint


def test_unlike_discriminators_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_matching(maps((1, 2), (3, 4)), maps((1, 2)))
    with pytest.raises(ValueError, match="zip"):
        feature_matching(maps((1, 2, 3)), maps((1, 2)))


def test_features_in_bfloat16_are_compared_in_float32() -> None:
    fake, real = ([[m.to(torch.bfloat16) for m in scale] for scale in maps(numbers)] for numbers in ((1, 2, 3), (0, 0, 0)))
    assert feature_matching(fake, real).dtype == torch.float32


# Total variation


def test_total_variation_adds_the_mean_steps_down_and_across() -> None:
    x = torch.tensor([[[[0.0, 1.0, 3.0], [4.0, 1.0, 1.0]]]])
    assert total_variation(x).item() == pytest.approx((4 + 0 + 2) / 3 + (1 + 2 + 3 + 0) / 4)


def test_an_even_image_has_no_variation_and_no_gradient() -> None:
    x = torch.full((1, 3, 4, 5), 0.3, requires_grad=True)
    loss = total_variation(x)
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_total_variation_pulls_an_outlier_back() -> None:
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    x.requires_grad_()
    total_variation(x).backward()
    assert x.grad[0, 0, 1, 1].item() == pytest.approx(4 / 6)
    assert x.grad[0, 0, 0, 1].item() == pytest.approx(-1 / 6)
    assert total_variation(x.to(torch.bfloat16)).dtype == torch.float32


# Style


def test_a_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]], [[[0.0, 0.0]], [[0.0, 2.0]]]])  # 2 images, C = 2, 1 x 2 pixels
    by_hand = torch.tensor([[[5.0, 1.0], [1.0, 10.0]], [[0.0, 0.0], [0.0, 4.0]]]) / 4
    torch.testing.assert_close(gram(features), by_hand)


def test_a_gram_matrix_does_not_know_where() -> None:
    features = torch.randn(1, 3, 4, 4)
    shuffled = features.flatten(2)[..., torch.randperm(16)].view_as(features)
    torch.testing.assert_close(gram(shuffled), gram(features))
    torch.testing.assert_close(gram(features.repeat(1, 1, 2, 3)), gram(features))


def test_style_by_hand_with_a_gradient() -> None:
    ones, twos = torch.ones(2, 2, 3, 3), torch.full((2, 1, 2, 2), 2.0, requires_grad=True)
    assert style(ones, torch.zeros_like(ones)).item() == pytest.approx(4 * 0.5**2)  # Gram entries of 1/2 against 0
    loss = style(twos, torch.ones(2, 1, 2, 2))
    assert loss.item() == pytest.approx((4 - 1) ** 2)
    loss.backward()  # d/dx of (x^2 - 1)^2 at 2 is 24, shared by 4 pixels and 2 images
    torch.testing.assert_close(twos.grad, torch.full((2, 1, 2, 2), 24 / 8))


def test_one_style_image_of_another_size_serves_the_batch() -> None:
    fake, painting = torch.randn(3, 4, 8, 8), torch.randn(1, 4, 5, 6)
    alone = torch.stack([style(image[None], painting) for image in fake]).mean()
    torch.testing.assert_close(style(fake, painting), alone)


def test_gram_matrices_stay_in_float32_under_autocast() -> None:
    features = torch.randn(1, 4, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gram(features)
    assert torch.equal(inside, gram(features))
    assert gram(features.to(torch.bfloat16)).dtype == torch.float32
