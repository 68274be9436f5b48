"""Everything that can pull an output towards its target, each with its weight; what weighs nothing is not computed."""

from torch import Tensor

from i2i.losses.matching import feature_matching, l1, region_l1, total_variation
from i2i.losses.perceptual import Perceptual
from i2i.networks.patchgan import Maps


class Matcher:
    """The weighted terms of an output against its target, by name: `l1`, `feat`, `perceptual`, `style`, `tv`.

    `region` makes the L1 of a marked region weigh 1 + region. `feat` needs a discriminator's maps of both sides.
    """

    def __init__(
        self,
        perceptual: Perceptual,
        style: Perceptual,
        *,
        lambda_l1: float = 0.0,
        lambda_region: float = 0.0,
        lambda_feat: float = 0.0,
        lambda_perceptual: float = 0.0,
        lambda_style: float = 0.0,
        lambda_tv: float = 0.0,
    ):
        self.perceptual, self.style = perceptual, style
        self.lambda_l1, self.lambda_region, self.lambda_tv = lambda_l1, lambda_region, lambda_tv
        self.lambda_feat, self.lambda_perceptual, self.lambda_style = lambda_feat, lambda_perceptual, lambda_style

    @property
    def needs_real(self) -> bool:
        """Whether a discriminator's maps of the real images are needed."""
        return self.lambda_feat > 0

    def require(self) -> None:
        """Raise UserError where the weights of a feature network are needed and cannot be had."""
        for weight, network in ((self.lambda_perceptual, self.perceptual), (self.lambda_style, self.style)):
            if weight:
                network.require()

    def __call__(
        self,
        fake: Tensor,
        y: Tensor,
        fake_maps: Maps | None = None,
        real_maps: Maps | None = None,
        *,
        region: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """fake, y: (B, C, H, W) in [-1, 1]; region: (B, 1, H, W) in [0, 1]."""
        terms = {}
        if self.lambda_l1:
            terms["l1"] = self.lambda_l1 * (l1(fake, y) if region is None else region_l1(fake, y, region, self.lambda_region))
        if self.lambda_feat:
            terms["feat"] = self.lambda_feat * feature_matching(fake_maps or [], real_maps or [])
        if self.lambda_perceptual:
            terms["perceptual"] = self.lambda_perceptual * self.perceptual(fake, y)
        if self.lambda_style:
            terms["style"] = self.lambda_style * self.style.style(fake, y)
        if self.lambda_tv:
            terms["tv"] = self.lambda_tv * total_variation(fake)
        return terms
