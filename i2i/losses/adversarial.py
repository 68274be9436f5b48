"""Adversarial objectives on the logits of a discriminator. Every mean runs over batch and patches, in float32."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from i2i.losses import widened

GanName = Literal["vanilla", "lsgan", "hinge", "wgan-gp"]


def discriminator_losses(kind: GanName, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What D pays for the real and for the fake logits, each halved to slow D down (Isola et al., section 3.3).

    vanilla: Goodfellow et al. 2014, eq. 1 · lsgan: Mao et al. 2016 (arXiv:1611.04076), targets 1 and 0 ·
    hinge: Lim and Ye 2017 (arXiv:1705.02894) · wgan-gp: Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3 without its penalty.
    """
    real, fake = widened(real), widened(fake)
    pair = {
        "vanilla": lambda: (softplus(-real), softplus(fake)),
        "lsgan": lambda: ((real - 1).square(), fake.square()),
        "hinge": lambda: (relu(1 - real), relu(1 + fake)),
        "wgan-gp": lambda: (-real, fake),
    }[kind]()
    return 0.5 * pair[0].mean(), 0.5 * pair[1].mean()


def generator_loss(kind: GanName, fake: Tensor) -> Tensor:
    """What G pays for the logits of its fakes. vanilla is the non-saturating form that is used in practice."""
    fake = widened(fake)
    if kind == "vanilla":
        return softplus(-fake).mean()
    if kind == "lsgan":
        return (fake - 1).square().mean()
    return -fake.mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """(|grad D| - 1)^2 at one random point between each real and fake, both (B, C, H, W); halved like D's losses.

    Gulrajani et al. 2017, eq. 3. D answers with a map here, so the gradient is that of the sum over its N patches, and its
    squared norm is divided by N: neither the sum nor the mean alone would keep its scale when the image grows.
    """
    with torch.autocast(real.device.type, enabled=False):
        mix = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=widened(real).dtype)
        point = torch.lerp(widened(real), widened(fake).detach(), mix).requires_grad_()
        logits = discriminator(point)
        (gradient,) = torch.autograd.grad(logits.sum(), point, create_graph=True)
        patches = logits[0].numel()
        norm = (gradient.flatten(1).square().sum(1) / patches + 1e-16).sqrt()  # the root has no slope at exactly 0
        return 0.5 * (norm - 1).square().mean()


def penalty_terms(kind: GanName, weight: float, discriminator: nn.Module, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """{"gp": the weighted penalty} for wgan-gp, else nothing: a pass in vain would still move batch-norm statistics."""
    if kind != "wgan-gp" or weight == 0:
        return {}
    return {"gp": weight * gradient_penalty(discriminator, real, fake)}
