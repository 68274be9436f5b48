"""LPIPS on networks of one or two layers, whose distance can be computed by hand."""

import pytest
import torch
from torch import nn

from i2i.metrics import lpips
from i2i.metrics.lpips import SCALE, SHIFT, Lpips


@pytest.fixture
def bare(monkeypatch) -> Lpips:
    """Of the images themselves, as they go into the network."""
    monkeypatch.setitem(lpips.BACKBONES, "bare", ("bare", (0,)))
    monkeypatch.setitem(lpips.SMALLEST, "bare", 1)
    return Lpips("bare", nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)), [torch.tensor([1.0, 2.0, 4.0])], "0.0")


def test_the_distance_is_that_of_unit_vectors_weighed_as_by_hand(bare) -> None:
    red, blue = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    red[:, 0], red[:, 1:] = 255, 127.5
    blue[:, 2], blue[:, :2] = 255, 127.5  # in [-1, 1]: (1, 0, 0) and (0, 0, 1)
    assert bare(red, blue).tolist() == pytest.approx([1 * 1 + 4 * 1])


def test_the_first_version_forgot_to_scale_its_input(bare) -> None:
    a, b = torch.full((1, 3, 2, 2), 200.0), torch.zeros(1, 3, 2, 2)
    scaled = Lpips("bare", bare.layers, bare.linear, "0.1")
    x = (torch.tensor([200 / 127.5 - 1, -1]) - torch.tensor(SHIFT)[:, None]) / torch.tensor(SCALE)[:, None]
    units = x / x.norm(dim=0)
    by_hand = ((units[:, 0] - units[:, 1]) ** 2 * torch.tensor([1.0, 2.0, 4.0])).sum()
    assert scaled(a, b).item() == pytest.approx(float(by_hand), rel=1e-5)
    assert bare(a, b).item() == pytest.approx(4 / 3 * 7, rel=1e-5)  # (1, 1, 1) against its opposite


def test_an_image_has_no_distance_to_itself_and_the_same_to_another_both_ways(bare) -> None:
    a, b = torch.rand(2, 3, 4, 4) * 255, torch.rand(2, 3, 4, 4) * 255
    assert bare(a, a).tolist() == [0, 0]
    assert torch.equal(bare(a, b), bare(b, a))
