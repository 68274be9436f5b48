"""The game between generators and discriminators. Every mean runs over batch and patches, in float32."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from i2i.losses import widened
from i2i.losses.augment import Policy, augmented
from i2i.losses.matching import feature_matching
from i2i.networks.layers import together
from i2i.networks.patchgan import Maps

GanName = Literal["vanilla", "lsgan", "hinge", "wgan-gp"]


class Game:
    """What discriminators and generators pay each other, with a discriminator of one scale or of several, which are summed.

    `halved` slows D down (Isola et al. 2017, section 3.3). `real_first` is the order in which D sees the two, which only the
    running statistics of a batch norm tell apart. The rest is off unless asked for:

    `relativistic`: real and fake are judged against the mean of the other (RaGAN, Jolicoeur-Martineau 2018, arXiv:1807.00734) ·
    `real_label`: what D is told that real images are, such as 0.9 (one-sided smoothing, Salimans et al. 2016,
    arXiv:1606.03498) · `gp`: weight of the penalty of wgan-gp · `r1`: gamma of the penalty on real images (Mescheder et al.
    2018, arXiv:1801.04406) · `augment`: what D sees is changed at random (DiffAugment, Zhao et al. 2020, arXiv:2006.10738) ·
    `margin`: D also learns features in which fake and real are this far apart (after PAN, Wang et al. 2018, arXiv:1706.09138).
    """

    def __init__(
        self,
        kind: GanName,
        *,
        halved: bool = True,
        real_first: bool = False,
        relativistic: bool = False,
        real_label: float = 1.0,
        gp: float = 10.0,
        r1: float = 0.0,
        augment: Sequence[Policy] = (),
        margin: float = 0.0,
    ):
        self.kind, self.share, self.relativistic = kind, 0.5 if halved else 1.0, relativistic
        self.real_first, self.real_label, self.margin, self.augment = real_first, real_label, margin, augment
        self.gp, self.r1 = gp if kind == "wgan-gp" else 0.0, r1

    def look(
        self, D: nn.Module, fake: Tensor, real: Tensor, *, features: bool = False, colours: int | None = None
    ) -> tuple[Maps, Maps]:
        """What G learns from: what D sees in its fakes and in as many real images, both (B, C, H, W), augmented alike.

        Real ones are looked at only where the game is relativistic or `features` are wanted of them, and are constant. The last
        `colours` channels are the image (None: all are), and those before it a condition without colours to change.
        """
        fake, real = self._augmented([fake, real], colours)
        fake_maps = D(fake)
        with torch.no_grad():
            return fake_maps, D(real) if features or self.relativistic else []

    def discriminator(self, D: nn.Module, real: Tensor, fake: Tensor, *, colours: int | None = None) -> dict[str, Tensor]:
        """What D pays, by name: `real`, `fake`, and the penalties that are on. No way leads from there to G."""
        images = fake, real = self._augmented([fake.detach(), real], colours)
        fake_maps, real_maps = reversed(together(D, *reversed(images))) if self.real_first else together(D, *images)
        for_real, for_fake = self._losses(real_maps, fake_maps, self.real_label)
        terms = {"real": for_real, "fake": for_fake}
        if self.gp:
            terms["gp"] = self.gp * gradient_penalty(D, real, fake, colours=colours)
        if self.r1:
            terms["r1"] = self.r1 * r1_penalty(D, real, colours=colours)
        if self.margin:
            terms["margin"] = relu(self.margin - feature_matching(fake_maps, real_maps, detach_real=False))
        return {name: self.share * loss for name, loss in terms.items()}

    def generator(self, fake: Maps, real: Maps) -> Tensor:
        """What G pays for what D saw; a relativistic game also needs what D saw in real images."""
        if self.relativistic:  # the roles are swapped: now the fakes are to look more real than the real ones
            return 0.5 * _sum(self._losses(fake, real))
        return _sum([generator_loss(self.kind, maps[-1]) for maps in fake])

    def _augmented(self, images: list[Tensor], colours: int | None) -> list[Tensor]:
        return augmented(images, self.augment, colours=colours) if self.augment else images

    def _losses(self, real: Maps, fake: Maps, real_label: float = 1.0) -> tuple[Tensor, Tensor]:
        """What is paid for real and for fake logits, over all scales."""
        fake_label, pairs = 0.0, []
        for real_maps, fake_maps in zip(real, fake, strict=True):
            r, f = widened(real_maps[-1]), widened(fake_maps[-1])
            if self.relativistic:
                fake_label, r, f = -1.0, r - f.mean(), f - r.mean()
            pairs.append(discriminator_losses(self.kind, r, f, real_label, fake_label))
        return _sum([for_real for for_real, _ in pairs]), _sum([for_fake for _, for_fake in pairs])


def discriminator_losses(
    kind: GanName, real: Tensor, fake: Tensor, real_label: float = 1.0, fake_label: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What D pays for the real and for the fake logits. The labels are the targets of lsgan; vanilla smooths the real one.

    vanilla: Goodfellow et al. 2014, eq. 1 · lsgan: Mao et al. 2016 (arXiv:1611.04076) ·
    hinge: Lim and Ye 2017 (arXiv:1705.02894) · wgan-gp: Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3 without its penalty.
    """
    real, fake = widened(real), widened(fake)
    pair = {
        "vanilla": lambda: (real_label * softplus(-real) + (1 - real_label) * softplus(real), softplus(fake)),
        "lsgan": lambda: ((real - real_label).square(), (fake - fake_label).square()),
        "hinge": lambda: (relu(1 - real), relu(1 + fake)),
        "wgan-gp": lambda: (-real, fake),
    }[kind]()
    return pair[0].mean(), pair[1].mean()


def generator_loss(kind: GanName, fake: Tensor) -> Tensor:
    """What G pays for the logits of its fakes. vanilla is the non-saturating form that is used in practice."""
    fake = widened(fake)
    if kind == "vanilla":
        return softplus(-fake).mean()
    if kind == "lsgan":
        return (fake - 1).square().mean()
    return -fake.mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, *, colours: int | None = None) -> Tensor:
    """(|grad D| - 1)^2 at one random point between each real and fake, both (B, C, H, W). Gulrajani et al. 2017, eq. 3.

    Of the last `colours` channels, the image (None: all are); the condition before them is that of the real side.
    """
    condition, image = _parted(real, colours)
    mix = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=image.dtype)
    slopes = _squared_slopes(discriminator, condition, torch.lerp(image, _parted(fake, colours)[1], mix))
    return _sum([((slope + 1e-16).sqrt() - 1).square().mean() for slope in slopes])  # the root has no slope at exactly 0


def r1_penalty(discriminator: nn.Module, real: Tensor, *, colours: int | None = None) -> Tensor:
    """Half of |grad D|^2 at real images (B, C, H, W). Mescheder et al. 2018, eq. 9, without gamma; `colours` as above."""
    return _sum([0.5 * slope.mean() for slope in _squared_slopes(discriminator, *_parted(real, colours))])


def _parted(images: Tensor, colours: int | None) -> tuple[Tensor, Tensor]:
    """The condition and the image, both constant and in float32 at least."""
    channels = images.shape[1] if colours is None else colours
    condition, image = widened(images.detach()).split([images.shape[1] - channels, channels], 1)
    return condition, image


def _squared_slopes(discriminator: nn.Module, condition: Tensor, image: Tensor) -> list[Tensor]:
    """For each scale the squared norm of D's gradient in each image, (B,), in full precision.

    D answers with a map here, so the gradient is that of the sum over its N patches, and its squared norm is divided by N:
    neither the sum nor the mean alone would keep its scale when the image grows.
    """
    with torch.autocast(image.device.type, enabled=False):
        point = image.requires_grad_()
        scales = [maps[-1] for maps in discriminator(torch.cat([condition, point], 1))]
        slopes = [torch.autograd.grad(logits.sum(), point, create_graph=True)[0] for logits in scales]
        return [slope.flatten(1).square().sum(1) / maps[0].numel() for slope, maps in zip(slopes, scales, strict=True)]


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
