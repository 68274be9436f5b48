"""Everything that can pull an output towards its target, each with its weight; what weighs nothing is not computed."""

from torch import Tensor

from i2i.losses.matching import feature_matching, l1, region_l1, total_variation
from i2i.losses.perceptual import Perceptual
from i2i.networks.patchgan import Maps


class Matcher:
    """The weighted terms of an output against its target, by name: `l1`, `feat`, `perceptual`, `style`, `tv`.

    `lambda_region` is how much more the L1 weighs where a region is marked. `feat` needs a discriminator's maps of both sides.
    """

    def __init__(
        self,
        perceptual: Perceptual | None = None,
        style: Perceptual | None = None,
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

    @property
    def smallest(self) -> int:
        """The smallest side in pixels that every feature network can look at."""
        return max((network.smallest for network in self._networks()), default=1)

    def require(self, channels: int) -> None:
        """Raise UserError where a feature network cannot look at so many channels, or its weights cannot be had."""
        for network in self._networks():
            network.require(channels)

    def _networks(self) -> list[Perceptual]:
        return [network for network in (self.perceptual, self.style) if network]

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
        if self.perceptual:
            terms["perceptual"] = self.lambda_perceptual * self.perceptual(fake, y)
        if self.style:
            terms["style"] = self.lambda_style * self.style.style(fake, y)
        if self.lambda_tv:
            terms["tv"] = self.lambda_tv * total_variation(fake)
        return terms
