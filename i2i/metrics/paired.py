"""An output against its own target. Images: (B, C, H, W) in 0..255, computed in float64; every function returns (B,)."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

TOP = 255.0
WINDOW, SIGMA = 11, 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The weight of each scale (Wang et al. 2003, "Multiscale structural similarity", section 3.2)."""
SSIM_SIDE = WINDOW
MS_SSIM_SIDE = (WINDOW - 1) * 2 ** (len(SCALES) - 1) + 1
"""The smallest side that leaves a whole window at the coarsest scale: 161."""


def l1(fake: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error in 8-bit levels."""
    return (fake.double() - target.double()).abs().flatten(1).mean(1)


def psnr(fake: Tensor, target: Tensor) -> Tensor:
    """10 log10(255^2 / mean squared error), in dB; of equal images infinite. Not of the pooled error of a batch."""
    return 10 * torch.log10(TOP**2 / (fake.double() - target.double()).square().flatten(1).mean(1))


def ssim(fake: Tensor, target: Tensor) -> Tensor:
    """Wang et al. 2004, "Image quality assessment", eq. 13, mean over windows that lie in the image, and over channels.

    Gaussian windows of 11 pixels, sigma 1.5, population statistics, as published. Sides of 11 pixels at least.
    """
    return _similarities(fake.double(), target.double())[0].mean(1)


def ms_ssim(fake: Tensor, target: Tensor) -> Tensor:
    """Wang et al. 2003, eq. 7: contrast and structure at five scales, luminance at the coarsest. Sides of 161 at least.

    Each scale is the mean of 2x2 pixels of the one before; negative terms count as 0, else their power has no real value.
    """
    a, b = fake.double(), target.double()
    terms = []
    for scale in range(len(SCALES)):
        whole, contrast = _similarities(a, b)
        terms.append(contrast if scale < len(SCALES) - 1 else whole)
        odd = [side % 2 for side in a.shape[2:]]
        a, b = avg_pool2d(a, 2, padding=odd), avg_pool2d(b, 2, padding=odd)
    weights = torch.tensor(SCALES, dtype=torch.float64, device=a.device).view(-1, 1, 1)
    return (torch.stack(terms).relu() ** weights).prod(0).mean(1)


def _similarities(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its term of contrast and structure alone, each (B, C)."""
    c1, c2 = (0.01 * TOP) ** 2, (0.03 * TOP) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def _blurred(x: Tensor) -> Tensor:
    """Without a border: (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    distance = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-(distance**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    planes = x.flatten(0, 1)[:, None]
    planes = conv2d(conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return planes.view(*x.shape[:2], *planes.shape[2:])
