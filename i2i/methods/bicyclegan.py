"""BicycleGAN: Toward Multimodal Image-to-Image Translation (Zhu, Zhang, Pathak, Darrell, Efros, Wang, Shechtman 2017,
arXiv:1711.11586)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.losses.latent import draw_codes, kl, reparametrised, slerp
from i2i.losses.matching import l1
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Gan, Initial, Matching, ModeSeeking, ScaledDiscriminator, require_side
from i2i.networks.encoder import ConvEncoder, ResidualEncoder
from i2i.networks.latent_unet import LatentUNet, LatentUpsampleName, Where
from i2i.networks.layers import NormName, frozen, initialise, with_image_statistics
from i2i.networks.patchgan import HalvingPatchGAN
from i2i.settings import Settings


class LatentGenerator(Settings):
    """A U-Net of `depth` halvings that takes the code at `where`: at all levels of its encoder, or beside the input image."""

    where: Where = "all"
    depth: int = Field(8, ge=2, le=12)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    dropout: bool = True  # as in every published training script
    upsample: LatentUpsampleName = "transposed"

    def build(self, in_channels: int, out_channels: int, z: int, initial: Initial) -> LatentUNet:
        network = LatentUNet(in_channels, out_channels, z=z, **dict(self))
        initialise(network, initial.kind, initial.gain)
        with_image_statistics(network)
        return network


class Encoder(Settings):
    """From an image of the output side to its code, in `blocks` halvings: 5 for 256 px, 4 for 128."""

    kind: Literal["residual", "conv"] = "residual"
    blocks: int = Field(5, ge=1)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"

    def build(self, in_channels: int, z: int, initial: Initial) -> ResidualEncoder | ConvEncoder:
        kind = ResidualEncoder if self.kind == "residual" else ConvEncoder
        network = kind(in_channels, z, **self.model_dump(exclude={"kind"}))
        initialise(network, initial.kind, initial.gain)
        with_image_statistics(network)
        return network


class BicycleGANConfig(Matching):
    """Defaults: the published PyTorch code, with which its networks were trained."""

    z: int = Field(8, ge=1)
    generator: LatentGenerator = LatentGenerator()
    encoder: Encoder = Encoder()
    discriminator: ScaledDiscriminator = ScaledDiscriminator()
    conditional: bool = False
    """Whether D and D2 see the input beside the output."""
    gan: Gan = Gan(kind="lsgan")
    lambda_gan: float = Field(1.0, ge=0)  # for images from encoded codes, which D judges
    lambda_gan2: float = Field(1.0, ge=0)  # for images from random codes, which D2 judges
    lambda_l1: float = Field(10.0, ge=0)
    lambda_kl: float = Field(0.01, ge=0)  # of a sum over batch and code
    lambda_z: float = Field(0.5, ge=0)
    mode_seeking: ModeSeeking = ModeSeeking()
    initial: Initial = Initial(kind="xavier", gain=0.02)


class BicycleGAN(Method):
    """G*, E* = arg min_{G,E} max_{D,D2} L_GAN^VAE + lambda L_1^VAE + L_GAN + lambda_latent L_1^latent + lambda_KL L_KL.

    A step goes both ways: y -> z -> y (cVAE-GAN, with the code of the target, judged by D) and z -> y -> z (cLR-GAN, with a
    random code, judged by D2). A style is a code, (z,). As in the published code the KL is a sum over batch and code, and what
    D and D2 pay is not halved.
    """

    Config, data, reads = BicycleGANConfig, "paired", frozenset({"region"})
    defaults = {"train": {"batch": 2}}  # a pair for each half of a step

    def __init__(self, config: BicycleGANConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        self.config, self.matching, self.channels = config, config.matching(), y.channels
        self.game = config.gan.build(halved=False)
        # what D2 sees are no pairs, whose features could be kept apart
        self.game2 = config.gan.model_copy(update={"margin": 0.0}).build(halved=False)
        self.G = config.generator.build(x.channels, y.channels, config.z, config.initial)
        self.E = config.encoder.build(y.channels, config.z, config.initial)
        judged = y.channels + (x.channels if config.conditional else 0)
        self.D = config.discriminator.build(HalvingPatchGAN, judged, config.initial)
        self.D2 = config.discriminator.build(HalvingPatchGAN, judged, config.initial)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G], "E": [self.E], "D": [self.D], "D2": [self.D2]}

    def generators(self) -> dict[str, nn.Module]:
        return {"G": self.G, "E": self.E}

    def require(self) -> None:
        self.matching.require(self.channels)

    def step(self, batch: Batch, update: Update) -> Sheet:
        """The first half of the batch is translated and encoded; the second is what D2 is told is real.

        In an odd batch the halves share a pair, and in a batch of one they are the same.
        """
        c, colours, half = self.config, batch.y.shape[1], (len(batch.x) + 1) // 2
        x, y, region = batch.x[:half], batch.y[:half], None if batch.region is None else batch.region[:half]

        mu, logvar = self.E(y)
        encoded = self.G(x, reparametrised(mu, logvar, self.noise(x)))
        z = self.noise(x)
        random = self.G(x, z)

        real, fake = self._judged(x, y), self._judged(x, encoded)
        real2, fake2 = self._judged(batch.x[-half:], batch.y[-half:]), self._judged(x, random)
        maps = self.game.look(self.D, fake, real, features=self.matching.needs_real, colours=colours)
        maps2 = self.game2.look(self.D2, fake2, real2, colours=colours)
        update(
            "G",
            "E",
            gan=c.lambda_gan * self.game.generator(*maps),
            gan2=c.lambda_gan2 * self.game2.generator(*maps2),
            **self.matching(encoded, y, *maps, region=region),
            kl=c.lambda_kl * kl(mu, logvar),
            z=c.lambda_z * l1(frozen(self.E)(random)[0], z),  # E is fixed, or G and E would hide z in the image together
            **c.mode_seeking.terms(self.G, x, z, random),
        )
        update("D", **self.game.discriminator(self.D, real, fake, colours=colours))
        update("D2", **self.game2.discriminator(self.D2, real2, fake2, colours=colours))
        return {"input": x, "encoded": encoded, "random": random, "target": y}

    def noise(self, x: Tensor) -> Tensor:
        """A random code for each image: (B, z)."""
        return torch.randn(len(x), self.config.z, device=x.device)

    def _judged(self, x: Tensor, image: Tensor) -> Tensor:
        return torch.cat([x, image], 1) if self.config.conditional else image

    def sheet(self, batch: Batch) -> Sheet:
        """The styles are the same on every sheet."""
        x, y = batch.x, batch.y
        outputs = self.samples(x, self.draw_styles(4, seed=0))
        return {"input": x, "target": y, "encoded": self.G(x, self.E(y)[0])} | {
            f"random {i}": output for i, output in enumerate(outputs, start=1)
        }

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        """Without a style z is 0, the mean and the most likely of all."""
        z = x.new_zeros(self.config.z) if style is None else style.to(x)
        return self.G(x, z.expand(len(x), -1))

    def draw_styles(self, count: int, seed: int) -> list[Style]:
        return draw_codes(count, self.config.z, seed)

    def encode_style(self, y: Tensor) -> Style:
        """The mean of what E makes of y, of any size."""
        require_side(y, self.E.smallest)
        return self.E(y)[0][0].float().cpu()

    def mix_styles(self, a: Style, b: Style, share: float) -> Style:
        """Along the sphere, where random codes of many dimensions lie."""
        return slerp(a, b, share)

    def accepts(self) -> Accepts:
        g = self.config.generator
        return Accepts(stride=2**g.depth, smallest=2**g.depth, halo=LatentUNet.halo(g.depth, g.upsample))

    def smallest_crop(self) -> int:
        d = self.config.discriminator
        judged = HalvingPatchGAN.smallest(d.layers, d.scales)
        return max(self.accepts().smallest, self.E.smallest, judged, self.matching.smallest)
