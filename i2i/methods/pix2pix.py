"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola, Zhu, Zhou, Efros 2017,
arXiv:1611.07004)."""

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses.latent import draw_codes, slerp
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Discriminator, Gan, Generator, Initial, Matching, ModeSeeking
from i2i.networks.patchgan import Maps


class Pix2PixConfig(Matching):
    """Defaults: the paper, sections 3 and 6, and the published PyTorch code where the paper is silent."""

    generator: Generator = Generator(kind="unet", depth=8, norm="batch", dropout=True)  # 6.1.1; dropout is the only noise
    discriminator: Discriminator = Discriminator(layers=3, norm="batch")  # 6.1.2: patches of 70x70
    gan: Gan | None = Gan(kind="vanilla")  # eq. 1; null: no discriminator
    lambda_l1: float = Field(100.0, ge=0)  # as published
    z: int = Field(0, ge=0)
    mode_seeking: ModeSeeking = ModeSeeking()
    initial: Initial = Initial()  # 6.2: N(0, 0.02)


class Pix2Pix(Method):
    """Eq. 4: G* = arg min_G max_D L_cGAN(G, D) + lambda L_L1(G). D sees the input beside the output.

    With `z` numbers of noise G is called as G(x, z), as in the paper's text, and one input has many outputs. Without a game
    what is left is a feed-forward network that is trained on its matching terms alone, such as Johnson et al. 2016.
    """

    Config, data, reads = Pix2PixConfig, "paired", frozenset({"region"})

    def __init__(self, config: Pix2PixConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        self.config, self.matching, self.channels = config, config.matching(), y.channels
        self.G = config.generator.build(x.channels, y.channels, config.initial, z=config.z)
        if config.gan:
            self.game = config.gan.build()
            self.D = config.discriminator.build(x.channels + y.channels, config.initial)
        self._require_sense()

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G], "D": [self.D]} if self.config.gan else {"G": [self.G]}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def require(self) -> None:
        self.matching.require(self.channels)

    def step(self, batch: Batch, update: Update) -> Sheet:
        x, y, z = batch.x, batch.y, self._noise(batch.x)
        fake = self._generate(x, z)
        gan, maps = self._play(x, y, fake, update) if self.config.gan else ({}, ())
        diversity = {} if z is None else self.config.mode_seeking.terms(self.G, x, z, fake)
        update("G", **gan, **self.matching(fake, y, *maps, region=batch.region), **diversity)
        return {"input": x, "output": fake, "target": y}

    def _play(self, x: Tensor, y: Tensor, fake: Tensor, update: Update) -> tuple[dict[str, Tensor], tuple[Maps, Maps]]:
        """D learns, then judges: what G pays for that, and what D saw."""
        real_pair, fake_pair, colours = torch.cat([x, y], 1), torch.cat([x, fake], 1), y.shape[1]
        update("D", **self.game.discriminator(self.D, real_pair, fake_pair, colours=colours))
        maps = self.game.look(self.D, fake_pair, real_pair, features=self.matching.needs_real, colours=colours)
        return {"gan": self.game.generator(*maps)}, maps

    def _noise(self, x: Tensor) -> Tensor | None:
        return torch.randn(len(x), self.config.z, device=x.device) if self.config.z else None

    def _generate(self, x: Tensor, z: Tensor | None) -> Tensor:
        return self.G(x) if z is None else self.G(x, z)

    def sheet(self, batch: Batch) -> Sheet:
        styles = self.draw_styles(3, 0) if self.config.z else [None]
        outputs = self.samples(batch.x, styles)
        named = {"output" if i == 0 else f"output {i + 1}": output for i, output in enumerate(outputs)}
        return {"input": batch.x, **named, "target": batch.y}

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        """Batch norm uses the statistics of each image, as published (section 3.3). Without a style z is 0."""
        if not self.config.z:
            return self.G(x)
        z = x.new_zeros(self.config.z) if style is None else style.to(x)
        return self.G(x, z.expand(len(x), -1))

    def draw_styles(self, count: int, seed: int) -> list[Style]:
        if not self.config.z:
            return super().draw_styles(count, seed)
        return draw_codes(count, self.config.z, seed)

    def mix_styles(self, a: Style, b: Style, share: float) -> Style:
        return slerp(a, b, share) if self.config.z else super().mix_styles(a, b, share)

    def accepts(self) -> Accepts:
        return self.config.generator.accepts()

    def smallest_crop(self) -> int:
        judged = self.config.discriminator.smallest() if self.config.gan else 1
        return max(self.accepts().smallest, judged, self.matching.smallest)

    def _require_sense(self) -> None:
        c = self.config
        if c.mode_seeking.weight and not c.z:
            raise UserError("mode seeking compares two codes, and model.z is 0", "--set model.z=8")
        if not c.gan and not c.matches:
            raise UserError("model.gan is null, and no other loss weighs anything", "such as --set model.lambda_l1=100")
        if c.lambda_feat and not c.gan:
            reason = "feature matching compares what a discriminator sees, and model.gan is null"
            raise UserError(reason, "--set model.lambda_feat=0")
