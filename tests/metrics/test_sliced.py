"""Sliced Wasserstein: the pyramid, what it sees, and what it does not."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from i2i.metrics.sliced import patches, patches_each, pyramid, side, sliced_distances


def noise(n: int = 12, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 255


def levels(images: Tensor, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [patches(image, 20, generator) for image in images]
    return [torch.cat(level) for level in zip(*found, strict=True)]


def test_the_square_is_the_largest_power_of_two() -> None:
    assert [side(n) for n in (15, 16, 31, 255, 256, 600)] == [None, 16, 16, 128, 256, 512]


def test_a_flat_image_has_only_its_rest() -> None:
    *fine, rest = pyramid(torch.full((3, 64, 64), 7.0))
    assert [level.shape[-1] for level in (*fine, rest)] == [64, 32, 16]
    assert all(level.abs().max() < 1e-4 for level in fine)
    assert torch.allclose(rest, torch.full((3, 16, 16), 7.0))


def test_patches_are_what_is_in_the_image() -> None:
    image = torch.arange(16 * 16.0).view(1, 16, 16)
    (found,) = patches(image, 5, torch.Generator().manual_seed(0))
    assert found.shape == (5, 1, 7, 7)
    assert torch.equal(found - found[:, :, :1, :1], (image[:, :7, :7] - image[:, :1, :1]).expand(5, 1, 7, 7))


def test_many_images_give_fewer_patches_each() -> None:
    assert [patches_each(n) for n in (1, 512, 1024, 10**6)] == [128, 128, 64, 1]


def test_a_set_has_no_distance_to_itself_and_two_halves_less_than_a_blurred_one() -> None:
    one, other = levels(noise(60)), levels(noise(60, seed=1), seed=1)
    blurred = levels(avg_pool2d(noise(60, seed=1), 3, 1, 1), seed=1)
    assert sliced_distances(one, one) == [0, 0]
    assert sliced_distances(other, one)[0] < 0.8 * sliced_distances(blurred, one)[0]
    assert max(sliced_distances(other, one)) < 150


def test_sets_in_order_of_class_are_compared_whole_where_one_is_larger() -> None:
    def ordered(n: int, seed: int) -> list[Tensor]:
        return levels(torch.cat([noise(n, seed=seed), noise(n, seed=seed + 1) / 8]), seed)

    few, many = ordered(20, 0), ordered(40, 2)
    half = [level[: len(level) // 2] for level in many]
    assert sliced_distances(few, many)[0] < 0.5 * sliced_distances(few, half)[0]
    assert max(sliced_distances(few, many)) < 150


def test_the_distance_of_values_in_one_dimension_is_that_of_the_sorted_values() -> None:
    # of one value each, after normalising {-1, 1} against {-1, 1}: nothing; against three quarters at one end: by hand
    even = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(4, 1, 1, 1)
    uneven = torch.tensor([-1.0, 1.0, 1.0, 1.0]).view(4, 1, 1, 1)
    normal = (uneven - uneven.mean()) / uneven.std(correction=0)
    by_hand = (even.flatten().sort().values - normal.flatten().sort().values).abs().mean()
    assert sliced_distances([even], [uneven])[0] == pytest.approx(1000 * float(by_hand), rel=1e-5)


def test_a_shift_of_colours_is_not_seen_as_published() -> None:
    images = noise()
    assert max(sliced_distances(levels(images * 0.5 + 40), levels(images))) < 1e-2
