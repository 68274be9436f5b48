"""Symptoms: each sees what it is for, and nothing in what is healthy."""

import math

import pytest
import torch
from torch import Tensor

from i2i.metrics.symptoms import Moments, Symptoms, checkerboard, correlation, reworked, saturated


def smooth(seed: int = 0, side: int = 32, channels: int = 3) -> Tensor:
    """(1, channels, side, side) in (-0.8, 0.8): blobs, as in photos."""
    coarse = torch.rand(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear", align_corners=True)


def found(outputs: list[Tensor], *, paired: bool = True, others: list[Tensor] | None = None) -> dict[str, float]:
    """Of outputs for smooth inputs, whose targets are other smooth images."""
    symptoms = Symptoms(paired)
    for seed, output in enumerate(outputs):
        symptoms.add(smooth(seed), output, smooth(100 + seed), others or [])
    return symptoms.found()


# One by one


def test_saturated_is_the_share_of_values_at_the_ends() -> None:
    assert saturated(torch.tensor([[[[-1.0, -0.96, 0.9], [0.0, 0.97, 1.0]]]])) == pytest.approx(4 / 6)


@pytest.mark.parametrize(("other", "wanted"), [(lambda x: x, 1), (lambda x: -x, -1), (lambda x: 0.3 * x + 0.1, 1)])
def test_correlation_is_that_of_brightness(other, wanted) -> None:
    assert correlation(smooth(), other(smooth())) == pytest.approx(wanted, abs=1e-5)


def test_correlation_compares_images_of_any_size_and_channels() -> None:
    assert correlation(smooth(channels=1, side=64), smooth(channels=1).expand(-1, 3, -1, -1)) > 0.98


def test_correlation_with_a_flat_image_is_not_a_number() -> None:
    assert math.isnan(correlation(smooth(), torch.full((1, 3, 32, 32), 0.3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: (x - 1).clamp(-1, 1),
        lambda x: (0.5 * x + 0.2).clamp(-1, 1),
        lambda x: x + torch.tensor([0.1, -0.1, 0.0]).view(3, 1, 1),
        lambda x: torch.full_like(x, -1.0),
    ],
    ids=["copy", "minus one", "contrast", "a constant for each channel", "black"],
)
def test_brightness_and_contrast_are_no_work(change) -> None:
    assert reworked(smooth(), change(smooth())) < 1e-4


def test_what_is_more_than_brightness_and_contrast_is_measured() -> None:
    stripes = 0.1 * (-1.0) ** torch.arange(32)
    assert reworked(smooth(), smooth() * 0.8 + 0.1 + stripes) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(("period", "wanted"), [(2, 0.2), (4, 0.2 / 2**0.5)])
@pytest.mark.parametrize("axis", [2, 3])
def test_checkerboard_is_the_root_mean_square_of_a_pattern(period, wanted, axis) -> None:
    wave = 0.2 * (2 * math.pi * torch.arange(64.0) / period).cos()
    image = torch.zeros(1, 3, 64, 64) + (wave[:, None] if axis == 2 else wave)
    assert checkerboard(image) == pytest.approx(wanted, rel=1e-3)


def test_checkerboard_sees_a_pattern_along_both_sides_and_in_one_colour_alone() -> None:
    sign = (-1.0) ** torch.arange(32)
    image = torch.zeros(1, 3, 32, 32)
    image[:, 1] = 0.2 * sign[:, None] * sign
    assert checkerboard(image) == pytest.approx(0.2 / 3**0.5, rel=1e-3)


def test_checkerboard_sees_next_to_nothing_in_blobs_and_slopes_nor_in_what_is_too_small() -> None:
    assert checkerboard(smooth(side=64)) < 6e-3
    assert checkerboard(torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)) < 3e-3
    assert math.isnan(checkerboard(smooth(side=15)))


def test_moments_are_those_of_all_images_at_once() -> None:
    images = torch.stack([smooth(seed)[0].double() for seed in range(7)])
    moments = Moments()
    for image in images:
        moments.add(image)
    assert torch.allclose(moments.mean, images.mean(0))
    assert moments.spread() == pytest.approx(float(images.var(0, correction=0).mean()) ** 0.5)


# Together


def test_all_is_found_of_pairs_of_images() -> None:
    outputs = [smooth(100 + seed) for seed in range(4)]
    values = found(outputs, others=[smooth(7)])
    assert values["correlation-target"] == pytest.approx(1)
    assert values["correlation-mean"] == pytest.approx(1)
    assert values["spread"] == values["spread-real"] > 0.1
    assert values["reworked"] == values["reworked-target"] > 0.1
    assert values["styles"] > 0.1
    assert set(values) == {
        *("saturated", "saturated-real", "checkerboard", "checkerboard-real", "styles", "correlation-target"),
        *("correlation-input", "moved", "reworked", "reworked-target", "spread", "spread-real", "correlation-mean"),
    }


def test_without_pairs_nothing_is_compared_with_a_target() -> None:
    assert not [name for name in found([smooth(1)], paired=False) if "target" in name]


def test_outputs_that_are_all_the_same_have_no_spread() -> None:
    assert found([smooth(1)] * 4)["spread"] < 1e-6


def test_a_label_map_is_not_compared_with_the_output() -> None:
    symptoms = Symptoms(paired=True)
    labels = torch.nn.functional.one_hot((smooth(channels=1)[:, 0] > 0).long(), 3).movedim(-1, 1).float()
    symptoms.add(labels, smooth(1), smooth(2))
    assert not symptoms.found().keys() & {"correlation-input", "moved", "reworked"}


def test_the_real_image_may_have_another_size_and_the_input_other_channels() -> None:
    symptoms = Symptoms(paired=False)
    for seed in range(2):
        symptoms.add(smooth(seed, channels=1), smooth(seed), smooth(seed, side=50))
    values = symptoms.found()
    assert "moved" not in values
    assert values["correlation-input"] > 0
    assert values["spread-real"] > 0


def test_nothing_is_found_where_nothing_was_shown() -> None:
    assert Symptoms(paired=True).found() == {}
