"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola, Zhu, Zhou, Efros 2017,
arXiv:1611.07004)."""

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.losses.adversarial import GanName, discriminator_losses, generator_loss, penalty_terms
from i2i.losses.matching import l1
from i2i.method import Accepts, Method, Sheet, Update
from i2i.methods.parts import Discriminator, Generator, Initial
from i2i.networks.layers import together
from i2i.settings import Settings


class Pix2PixConfig(Settings):
    """Defaults: the paper, sections 3 and 6, and the published PyTorch code where the paper is silent."""

    generator: Generator = Generator(kind="unet", depth=8, norm="batch", dropout=True)  # 6.1.1; dropout is the only noise
    discriminator: Discriminator = Discriminator(layers=3, norm="batch")  # 6.1.2: patches of 70x70
    gan: GanName = "vanilla"  # eq. 1
    lambda_l1: float = Field(100.0, ge=0)  # as published
    lambda_gp: float = Field(10.0, ge=0)  # only for wgan-gp: Gulrajani et al. 2017, section 4
    initial: Initial = Initial()  # 6.2: N(0, 0.02)


class Pix2Pix(Method):
    """Eq. 4: G* = arg min_G max_D L_cGAN(G, D) + lambda L_L1(G). D sees the input beside the output."""

    Config, data = Pix2PixConfig, "paired"

    def __init__(self, config: Pix2PixConfig, x_channels: int = 3, y_channels: int = 3):
        super().__init__(config, x_channels, y_channels)
        self.config = config
        self.G = config.generator.build(x_channels, y_channels, config.initial)
        self.D = config.discriminator.build(x_channels + y_channels, config.initial)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G], "D": [self.D]}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G}

    def step(self, batch: tuple[Tensor, Tensor], update: Update) -> Sheet:
        c, (x, y) = self.config, batch
        fake = self.G(x)
        real_pair, fake_pair = torch.cat([x, y], 1), torch.cat([x, fake], 1)

        fake_logits, real_logits = together(self.D, fake_pair.detach(), real_pair)
        real_loss, fake_loss = discriminator_losses(c.gan, real_logits, fake_logits)
        penalty = penalty_terms(c.gan, c.lambda_gp, self.D, real_pair, fake_pair)
        update("D", real=real_loss, fake=fake_loss, **penalty)

        update("G", gan=generator_loss(c.gan, self.D(fake_pair)), l1=c.lambda_l1 * l1(fake, y))
        return {"input": x, "output": fake, "target": y}

    def sheet(self, batch: tuple[Tensor, Tensor]) -> Sheet:
        x, y = batch
        return {"input": x, "output": self.translate(x), "target": y}

    def translate(self, x: Tensor, *, reverse: bool = False) -> Tensor:
        """Batch norm uses the statistics of each image, as published (section 3.3). Dropout is off: one input, one output."""
        return self.G(x)

    def accepts(self) -> Accepts:
        return self.config.generator.accepts()

    def smallest_crop(self) -> int:
        return max(self.accepts().smallest, self.config.discriminator.smallest())
