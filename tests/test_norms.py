"""Statistics of the image at hand: joined from parts, measured once, and given to others."""

from functools import reduce

import pytest
import torch
from torch import nn

from i2i import norms
from i2i.networks.layers import BatchNorm2d, InstanceNorm2d, with_image_statistics
from i2i.norms import Moments, joined

KINDS = [InstanceNorm2d(), with_image_statistics(BatchNorm2d(3)).eval(), nn.GroupNorm(1, 3)]


def test_the_moments_of_parts_join_to_those_of_the_whole() -> None:
    """Also where the mean is much larger than what varies."""
    values = torch.cat([torch.randn(3, 500) + 1000, 2 * torch.randn(3, 77) + 1003], 1).double()
    parts = (Moments(part.shape[1], part.mean(1), part.var(1, correction=0)) for part in values.split([300, 200, 77], 1))
    number, mean, variance = reduce(joined, parts)
    assert number == 577
    torch.testing.assert_close(mean, values.mean(1))
    torch.testing.assert_close(variance, values.var(1, correction=0))


@pytest.mark.parametrize("norm", KINDS, ids=lambda norm: type(norm).__name__)
def test_the_first_image_gets_its_own_statistics_and_all_others_get_those_too(norm) -> None:
    first, second = torch.randn(1, 3, 8, 9), 2 * torch.randn(2, 3, 8, 9) + 1
    known: norms.Statistics = {}
    with norms.kept(norm, known):
        one, two = norm(first), norm(second)
    torch.testing.assert_close(one, norm(first))
    sides = (1, 2, 3) if isinstance(norm, nn.GroupNorm) else (2, 3)
    mean, variance = first.mean(sides, keepdim=True), first.var(sides, keepdim=True, correction=0)
    torch.testing.assert_close(two, (second - mean) / (variance + norm.eps).sqrt())


def test_statistics_are_taken_in_float32_whatever_is_computed_in() -> None:
    x = (torch.randn(1, 3, 64, 64) + 100).bfloat16()
    torch.testing.assert_close(norms.moments(InstanceNorm2d(), x).mean.float(), x.float().mean((0, 2, 3)))


def test_a_network_is_left_as_it_was() -> None:
    norm, x = InstanceNorm2d(), torch.randn(1, 3, 4, 4)
    with pytest.raises(RuntimeError), norms.kept(norm, {}):
        norm(x)
        raise RuntimeError
    assert "forward" not in vars(norm)
