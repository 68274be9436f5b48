from itertools import pairwise

import pytest

from i2i.training.schedule import factor


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, 1), (99, 1), (100, 1), (101, 1 - 1 / 101), (150, 1 - 50 / 101), (200, 1 / 101)],
)
def test_linear_has_the_published_factors_of_100_and_100_epochs(epoch, expected) -> None:
    assert factor("linear", epoch - 1, 200, 100) == pytest.approx(expected, rel=1e-12)


def test_linear_counts_steps_the_same_way_and_never_reaches_zero_before_the_end() -> None:
    factors = [factor("linear", step, 1000, 500) for step in range(1000)]
    assert factors[:500] == [1] * 500
    falls = [a - b for a, b in pairwise(factors[499:])]
    assert falls == pytest.approx([1 / 501] * 500)
    assert factors[-1] == pytest.approx(1 / 501)
    assert factor("linear", 1000, 1000, 500) == pytest.approx(0)


def test_linear_can_decay_from_the_start_or_not_at_all() -> None:
    assert factor("linear", 0, 10, 0) == pytest.approx(1 - 1 / 11)
    assert {factor("linear", step, 10, 10) for step in range(10)} == {1}


def test_cosine_goes_from_one_to_zero() -> None:
    assert factor("cosine", 0, 200, 100) == 1
    assert factor("cosine", 100, 200, 100) == pytest.approx(0.5)
    assert factor("cosine", 200, 200, 100) == pytest.approx(0)
    assert factor("cosine", 300, 200, 100) == pytest.approx(0)
    assert all(factor("cosine", n, 200, 0) > factor("cosine", n + 1, 200, 0) for n in range(200))


def test_constant_stays() -> None:
    assert {factor("constant", tick, 10, 0) for tick in range(20)} == {1.0}
