"""Distances of two sets of vectors: values by hand, a set against itself, and two halves of one set."""

import pytest
import torch
from torch import Tensor

from i2i.metrics import distributions
from i2i.metrics.distributions import evenly, frechet_distance, kernel_distance, manifolds


def normal(n: int, d: int = 8, seed: int = 0, shift: float = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_some_are_taken_evenly_from_all() -> None:
    assert evenly(torch.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert evenly(torch.arange(5), 5).tolist() == [0, 1, 2, 3, 4]


def test_the_frechet_distance_of_two_samples_of_one_dimension_is_that_of_their_normals() -> None:
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [9.0]])  # means 1 and 5, variances 2 and 32
    assert frechet_distance(a, b) == pytest.approx((5 - 1) ** 2 + (2**0.5 - 32**0.5) ** 2)


@pytest.mark.parametrize("n", [5, 50])
def test_the_frechet_distance_is_that_of_the_textbook_with_more_and_with_fewer_vectors_than_dimensions(n) -> None:
    a, b = normal(n).double(), 2 * normal(n + 3, seed=1, shift=0.5).double()
    roots = torch.linalg.eigvals(a.T.cov() @ b.T.cov()).real.clamp(min=0).sqrt().sum()
    textbook = (a.mean(0) - b.mean(0)).square().sum() + a.T.cov().trace() + b.T.cov().trace() - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(float(textbook), rel=1e-6)


def test_the_frechet_distance_of_a_set_to_itself_is_nothing_in_any_order() -> None:
    assert frechet_distance(normal(30), normal(30)) == 0
    assert frechet_distance(normal(30), normal(30).flip(0)) == pytest.approx(0, abs=1e-9)


def test_a_shift_is_seen_whole() -> None:
    assert frechet_distance(normal(30), normal(30) + 2) == pytest.approx(8 * 2**2, rel=1e-6)


def test_the_kernel_distance_has_the_value_computed_by_hand() -> None:
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [3.0]])
    within_a, within_b, between = (1 * 2 + 1) ** 3, (0 * 3 + 1) ** 3, (1**3 + 4**3 + 1**3 + 7**3) / 4
    assert kernel_distance(a, b, subsets=0).value == pytest.approx(within_a + within_b - 2 * between)


def test_the_kernel_distance_of_two_halves_is_nothing_within_its_deviation_and_a_shift_is_far_outside() -> None:
    same, shifted = kernel_distance(normal(100), normal(100, seed=1)), kernel_distance(normal(100), normal(100, seed=1) + 1)
    assert abs(same.value) < 3 * same.deviation
    assert shifted.value > 5 * shifted.deviation
    assert same.size == 50


def test_sets_larger_than_memory_allows_are_computed_in_parts(monkeypatch) -> None:
    fake, real = normal(40), normal(50, seed=1, shift=0.3)
    whole = kernel_distance(fake, real, subsets=0).value, manifolds(fake, real)
    monkeypatch.setattr(distributions, "ROWS", 7)
    assert kernel_distance(fake, real, subsets=0).value == pytest.approx(whole[0], rel=1e-12)
    assert manifolds(fake, real) == whole[1]


def test_manifolds_have_the_values_computed_by_hand() -> None:
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([[0.5], [30.0], [31.0], [32.0]])
    found = manifolds(fake, real, k=1, k_density=1)
    # balls of the real ones: 1, 1, 1, 8 wide; of the fake ones: 29.5, 1, 1, 1
    assert found.precision == 1 / 4
    assert found.recall == 1
    assert found.density == pytest.approx(2 / 4)
    assert found.coverage == pytest.approx(2 / 4)


def test_a_set_lies_whole_in_itself_and_nothing_of_it_in_one_far_away() -> None:
    assert manifolds(normal(30), normal(30)) == (1, 1, pytest.approx(1), 1)
    assert manifolds(normal(30) + 100, normal(30)) == (0, 0, 0, 0)


def test_modes_that_are_missing_cost_recall_and_coverage_and_not_precision() -> None:
    real, modes = torch.cat([normal(40), normal(40, seed=1, shift=9)]), normal(80, seed=2)
    found = manifolds(modes, real)
    assert found.precision > 0.6
    assert found.recall < 0.6
    assert found.coverage < 0.6
