"""Latent codes and losses on them, for methods with many outputs for one input."""

from typing import Literal

import torch
from torch import Tensor

from i2i.losses import widened
from i2i.losses.matching import l1


def draw_codes(count: int, size: int, seed: int) -> list[Tensor]:
    """`count` random codes, each (size,) from N(0, 1): the same for the same seed, whatever else draws."""
    return list(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """How far the codes N(mu, exp(logvar)) are from N(0, 1): summed over batch and code, as published with BicycleGAN.

    mu, logvar: (B, z). Zhu et al. 2017, arXiv:1711.11586; the divergence is that of Kingma and Welling 2014, arXiv:1312.6114.
    """
    mu, logvar = widened(mu), widened(logvar)
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum()


def reparametrised(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """A draw from N(mu, exp(logvar)) that gradients can pass, of eps from N(0, 1); all (B, z)."""
    return mu + (logvar / 2).exp() * eps


def mode_seeking(
    image1: Tensor,
    image2: Tensor,
    z1: Tensor,
    z2: Tensor,
    *,
    form: Literal["inverse", "clipped"] = "inverse",
    eps: float = 1e-5,
    tau: float = 10.0,
) -> Tensor:
    """Make two codes for one input give two images: look at how far these are apart, per distance of the codes.

    image1, image2: (B, C, H, W) in [-1, 1]; z1, z2: (B, z). "inverse" is 1 / (ratio + eps), as published with MSGAN (Mao et
    al. 2019, arXiv:1903.05628), with means over the batch too; it is 1 / eps where the images are equal. "clipped" is
    -min(ratio, tau), which is never steep (Yang et al. 2019, arXiv:1901.09024).
    """
    ratio = l1(image1, image2) / l1(z1, z2)
    return 1 / (ratio + eps) if form == "inverse" else -ratio.clamp(max=tau)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From a (share 0) to b (share 1) along the arc between their directions, so that no code on the way is unusually short.

    a, b: (..., z). Shoemake 1985. Straight where no arc is the shortest: the same direction, opposite ones, or none at all.
    """
    cosine = (a * b).sum(-1, keepdim=True) / (a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True))
    angle = cosine.clamp(-1, 1).arccos()
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / sine
    # float32 knows angles near 0 and pi to 3e-4 only; the cosine of a code of zeros is not a number, which is not larger either
    return torch.where(sine > 1e-3, arc, (1 - share) * a + share * b)
