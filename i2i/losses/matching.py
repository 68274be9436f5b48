"""Losses that compare two images, or what a network sees in them."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from i2i.errors import UserError
from i2i.losses import widened
from i2i.networks.patchgan import Maps


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two (B, C, H, W), in float32."""
    return l1_loss(widened(a), widened(b))


def region_l1(a: Tensor, b: Tensor, region: Tensor, weight: float) -> Tensor:
    """`l1` that counts a pixel 1 + weight * region times. region: (B, 1, H, W) in [0, 1], where it matters most."""
    return ((widened(a) - widened(b)).abs() * (1 + weight * widened(region))).mean()


def feature_matching(fake: Maps, real: Maps, *, detach_real: bool = True) -> Tensor:
    """Make a discriminator see in a fake what it sees in a real image (Wang et al. 2018, arXiv:1711.11585, section 3.2).

    The mean over scales of 4 times the mean over layers, without the logits: the weights of the published code. A generator
    learns with the real side detached; a discriminator that keeps the two apart learns from both.
    """
    pairs = [zip(a[:-1], b[:-1], strict=True) for a, b in zip(fake, real, strict=True)]
    distances = [[l1(a, b.detach() if detach_real else b) for a, b in layers] for layers in pairs]
    if not distances or not all(distances):
        raise UserError(
            "this discriminator has no layers to match features in", "lambda_feat and gan.margin need some: set both to 0"
        )
    return 4 * torch.stack([torch.stack(layers).mean() for layers in distances]).mean()


def total_variation(x: Tensor) -> Tensor:
    """How restless an image is: the mean absolute difference of vertical neighbours plus that of horizontal ones.

    x: (B, C, H, W). The anisotropic form; others square the differences.
    """
    x = widened(x)
    return l1(x[..., 1:, :], x[..., :-1, :]) + l1(x[..., 1:], x[..., :-1])


def gram(features: Tensor) -> Tensor:
    """Which channels fire together, wherever: (B, C, H, W) -> (B, C, C), divided by C H W.

    Johnson et al. 2016, arXiv:1603.08155, section 3.2.
    """
    psi = widened(features).flatten(2)
    with torch.autocast(psi.device.type, enabled=False):  # a sum over all pixels, which bfloat16 would spoil
        return psi @ psi.transpose(1, 2) / psi[0].numel()


def style(a: Tensor, b: Tensor) -> Tensor:
    """How far apart two styles are in one layer: the squared distance of the Gram matrices, mean over the batch.

    a, b: (B, C, H, W); H and W may differ between the two, and one b serves all a. Johnson et al. 2016, section 3.2.
    """
    return (gram(a) - gram(b)).square().sum((1, 2)).mean()
