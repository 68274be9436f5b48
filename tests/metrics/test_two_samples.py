"""Tests of two samples: 0.5 for one distribution, 1 where they differ, 0 for copies."""

import math

import pytest
import torch
from torch import Tensor

from i2i.metrics import two_samples
from i2i.metrics.two_samples import birthday, chance, classifier_test, diversity, nearest_neighbours


def normal(n: int, d: int = 8, seed: int = 0, shift: float = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def textures(n: int, seed: int, top: int = 256) -> Tensor:
    return torch.randint(0, top, (n, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_neighbours_are_counted_as_by_hand() -> None:
    fake, real = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[10.4], [20.0], [21.0]])
    assert nearest_neighbours(fake, real) == (pytest.approx(4 / 6), pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_copies_give_nothing_and_other_sets_everything() -> None:
    assert nearest_neighbours(normal(30), normal(30)).accuracy == 0
    assert nearest_neighbours(normal(30) + 1e-4, normal(30)).accuracy == 0
    assert nearest_neighbours(normal(30) + 20, normal(30)).accuracy == 1


def test_two_halves_of_one_set_cannot_be_told_apart() -> None:
    shares = [nearest_neighbours(normal(100, seed=s), normal(100, seed=s + 100)).accuracy for s in range(10)]
    assert sum(shares) / 10 == pytest.approx(0.5, abs=0.05)


def test_of_unequal_sets_as_many_are_compared_from_every_part() -> None:
    few, many = normal(30), normal(90, seed=1)
    assert nearest_neighbours(few, many) == nearest_neighbours(few, many[::3])
    assert nearest_neighbours(many, few) == nearest_neighbours(many[::3], few)


def test_sets_of_one_distribution_that_are_in_order_of_class_cannot_be_told_apart() -> None:
    fake = torch.cat([normal(50), normal(50, seed=1, shift=20)])
    real = torch.cat([normal(100, seed=2), normal(100, seed=3, shift=20)])
    assert nearest_neighbours(fake, real).accuracy == pytest.approx(0.5, abs=0.1)
    fake = torch.cat([textures(20, 0), textures(20, 1, 128)])
    real = torch.cat([textures(40, 2), textures(40, 3, 128)])
    assert classifier_test(fake, real).accuracy < 0.7


def test_a_classifier_learns_what_differs_and_nothing_where_nothing_does() -> None:
    same, darker = classifier_test(textures(40, 0), textures(40, 1)), classifier_test(textures(40, 0), textures(40, 1, 128))
    assert abs(same.accuracy - 0.5) < 3 / math.sqrt(4 * 40)
    assert same.p > 0.001
    assert darker.accuracy > 0.9
    assert darker.p < 1e-6


def test_the_classifier_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = classifier_test(textures(10, 0), textures(10, 1))
    assert torch.rand(1) == expected
    assert classifier_test(textures(10, 0), textures(10, 1)) == first


def test_as_many_as_chance_gets_right_have_an_even_p_and_one_deviation_more_has_that_of_a_normal() -> None:
    assert chance(0.5, 80) == 0.5
    assert chance(0.55, 100) == pytest.approx(0.158655, rel=1e-5)
    assert chance(0.9, 80) < 1e-6


def test_a_sampler_with_few_outputs_has_birthdays_and_real_images_have_none() -> None:
    few = normal(5)[torch.arange(40) % 5]
    assert birthday(few, normal(30, seed=1)) == (1.0, 20)
    assert birthday(normal(40, d=64), normal(30, d=64, seed=1)).share == 0


def test_half_of_the_batches_have_a_birthday_where_the_support_is_about_the_square_of_their_size() -> None:
    kinds = torch.randint(0, 300, (40,), generator=torch.Generator().manual_seed(1))  # 1.18 sqrt(300) = 20
    share = birthday(normal(300, d=64)[kinds], normal(30, d=64, seed=1)).share
    assert 0.1 < share < 0.9


def test_large_sets_are_compared_in_parts_and_of_very_large_ones_a_part(monkeypatch) -> None:
    fake, real = normal(30), normal(30, seed=1, shift=0.5)
    whole = nearest_neighbours(fake, real)
    monkeypatch.setattr(two_samples, "ROWS", 7)
    assert nearest_neighbours(fake, real) == whole
    monkeypatch.setattr(two_samples, "MOST", 10)
    assert diversity(fake) == pytest.approx(diversity(fake[::3]))
    assert birthday(fake, real).size == 5


def test_diversity_is_the_mean_distance_of_two() -> None:
    assert diversity(torch.tensor([[0.0, 0.0], [3.0, 3.0], [6.0, 6.0]])) == pytest.approx((3 + 3 + 6) / 3)
    assert diversity(torch.ones(4, 2)) == 0
