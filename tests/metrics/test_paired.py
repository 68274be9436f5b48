"""An output against its target: values by hand, edges, and an image against itself."""

import math

import pytest
import torch
from torch import Tensor

from i2i.metrics.paired import MS_SSIM_SIDE, SSIM_SIDE, l1, ms_ssim, psnr, ssim


def noise(side: int = 20, seed: int = 0, count: int = 1) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_l1_and_psnr_have_the_values_computed_by_hand() -> None:
    fake, target = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([[[[0, 3], [0, 1]]]], dtype=torch.uint8)
    assert l1(fake, target).tolist() == [1.0]
    assert psnr(fake, target).item() == pytest.approx(10 * math.log10(255**2 / 2.5), abs=1e-12)


def test_bytes_do_not_wrap_around() -> None:
    assert l1(torch.full((1, 1, 2, 2), 1, dtype=torch.uint8), torch.full((1, 1, 2, 2), 2, dtype=torch.uint8)).item() == 1


def test_every_image_of_a_batch_is_measured_alone() -> None:
    fake, target = noise(count=2), noise(seed=1, count=2)
    for metric in (l1, psnr, ssim):
        assert metric(fake, target).shape == (2,)
        assert metric(fake, target)[1] == metric(fake[1:], target[1:])[0]


@pytest.mark.parametrize(("metric", "side", "perfect"), [(l1, 1, 0), (psnr, 1, math.inf), (ssim, 11, 1), (ms_ssim, 161, 1)])
def test_an_image_is_itself(metric, side, perfect) -> None:
    assert metric(noise(side), noise(side)).item() == pytest.approx(perfect, abs=1e-12)


def test_ssim_of_two_flat_images_is_the_term_of_luminance() -> None:
    fake, target = torch.full((1, 1, 11, 11), 100.0), torch.full((1, 1, 11, 11), 50.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(fake, target).item() == pytest.approx((2 * 100 * 50 + c1) / (100**2 + 50**2 + c1), abs=1e-12)


def test_ssim_of_an_inverted_image_is_negative_and_ms_ssim_counts_that_as_none() -> None:
    image = noise(MS_SSIM_SIDE)
    assert ssim(image, 255 - image).item() < -0.9
    assert ms_ssim(image, 255 - image).item() == 0


def test_the_smallest_sides_are_the_smallest() -> None:
    assert ssim(noise(SSIM_SIDE), noise(SSIM_SIDE, seed=1)).isfinite()
    assert ms_ssim(noise(MS_SSIM_SIDE), noise(MS_SSIM_SIDE, seed=1)).isfinite()
    with pytest.raises(RuntimeError):
        ssim(noise(SSIM_SIDE - 1), noise(SSIM_SIDE - 1))
    with pytest.raises(RuntimeError):
        ms_ssim(noise(MS_SSIM_SIDE - 1), noise(MS_SSIM_SIDE - 1))
