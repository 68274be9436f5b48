import pytest
import torch

from i2i.losses.matching import l1


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
