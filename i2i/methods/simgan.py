"""SimGAN: Learning from Simulated and Unsupervised Images through Adversarial Training (Shrivastava, Pfister, Tuzel, Susskind,
Wang, Webb 2017, arXiv:1612.07828)."""

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.losses import widened
from i2i.losses.history import History
from i2i.losses.matching import l1
from i2i.method import Accepts, Batch, Method, Sheet, Style, Update
from i2i.methods.parts import Discriminator, Features, Gan, Initial
from i2i.networks.layers import NormName, initialise, spectrally_normalised
from i2i.networks.patchgan import PatchGAN
from i2i.networks.refiner import LocalDiscriminator, Refiner
from i2i.settings import Settings

Turn = Literal["R alone", "D", "R"]


class RefinerSettings(Settings):
    """The refiner: the paper's for eyes, of which its hands have `kernel` 7 and `blocks` 10."""

    width: int = Field(64, ge=1)
    blocks: int = Field(4, ge=0)
    kernel: int = Field(3, ge=1)
    residual: bool = False
    """Learn only what to change, starting from nothing: `refiner_first` can then be 0. Not in the paper."""

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("must be odd")
        return kernel

    def build(self, channels: int, initial: Initial) -> Refiner:
        network = Refiner(channels, **self.model_dump())
        initialise(network, initial.kind, initial.gain)
        if self.residual:
            nn.init.zeros_(network.last.weight)
        return network

    def accepts(self) -> Accepts:
        return Accepts(stride=1, smallest=1, halo=Refiner.halo(self.blocks, self.kernel))


class LocalSettings(Settings):
    """The paper's local discriminators for eyes and for hands, or a PatchGAN, which alone has `layers`, `width` and `norm`."""

    kind: Literal["eyes", "hands", "patch"] = "eyes"
    layers: int = Field(2, ge=1)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    spectral_norm: bool = False

    def build(self, in_channels: int, initial: Initial) -> nn.Module:
        if self.kind == "patch":
            return Discriminator(**self.model_dump()).build(in_channels, initial)
        network = LocalDiscriminator(in_channels, kind=self.kind)
        initialise(network, initial.kind, initial.gain)
        return spectrally_normalised(network) if self.spectral_norm else network

    def smallest(self) -> int:
        return PatchGAN.smallest(self.layers) if self.kind == "patch" else 1


class SimGANConfig(Settings):
    """Defaults: the paper for eyes; where it is silent, what the comment says."""

    refiner: RefinerSettings = RefinerSettings()
    discriminator: LocalSettings = LocalSettings()
    gan: Gan = Gan(kind="vanilla")  # section 2.1
    psi: Literal["identity", "gradient", "mean", "perceptual"] = "identity"  # section 2.1: what must not change
    # The paper gives no lambda, and its losses are sums: 0.01 for each pixel against 1 for each of D's 126 places would be
    # 0.01 * 55 * 35 / 126 = 0.15 between our means. Public code comes to anything from 0.5 to 300, where R can only copy.
    lambda_reg: float = Field(0.5, gt=0)
    perceptual: Features = Features(network="vgg16", taps={"relu2_2": 1.0}, normalize="imagenet")  # for psi=perceptual
    refiner_first: int = Field(1000, ge=0)  # steps of R with the regularisation alone, then
    discriminator_first: int = Field(200, ge=0)  # steps of D alone
    k_g: int = Field(2, ge=1)  # Algorithm 1: updates of R (sources differ: 2, or 50), then
    k_d: int = Field(1, ge=1)  # updates of D
    history: int = Field(512, ge=0)  # no size in the paper; 512 colour images of 256 pixels are 0.4 GB, in checkpoints too
    initial: Initial = Initial(kind="xavier", gain=1.0)  # not in the paper; without norms N(0, 0.02) would fade away


class SimGAN(Method):
    """Algorithm 1: R refines synthetic images x until D cannot tell them from real ones y, while ψ(x) stays (section 2.1).

    The paper's D gives the probability that an image was refined, ours that it is real. Its sums are means here.
    """

    Config, data, scenes, keeps_annotations = SimGANConfig, "unpaired", "simreal", True
    defaults = {
        "data": {"resize": "none", "flip": False},  # images keep their own scale; a mirrored gaze, digit or hand is another
        "train": {"steps": 10_000, "batch": 8, "schedule": "constant"},  # for the paper's SGD and batch see the preset "eyes"
    }

    def __init__(self, config: SimGANConfig, x: Domain, y: Domain):
        super().__init__(config, x, y)
        if x.channels != y.channels:
            raise UserError(
                f"a refiner keeps what it is given, but x has {x.channels} channels and y {y.channels}",
                "convert one side: grey and colour images cannot be told apart by anything else",
            )
        self.config, self.channels, self.game = config, x.channels, config.gan.build(halved=False, pairs=False)
        self.perceptual = config.perceptual.build(without="model.psi=identity") if config.psi == "perceptual" else None
        self.R = config.refiner.build(x.channels, config.initial)
        self.D = config.discriminator.build(x.channels, config.initial)
        self.history = History(config.history)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"R": [self.R], "D": [self.D]}

    def generators(self) -> dict[str, nn.Module]:
        return {"R": self.R}

    def require(self) -> None:
        if self.perceptual:
            self.perceptual.require(self.channels)

    def turn(self, step: int) -> Turn:
        """Who plays after so many steps, each on a batch of its own: R learns to copy, D to tell, then Algorithm 1 begins."""
        c = self.config
        if step < c.refiner_first:
            return "R alone"
        step -= c.refiner_first + c.discriminator_first
        return "R" if step >= 0 and step % (c.k_g + c.k_d) < c.k_g else "D"

    def step(self, batch: Batch, update: Update) -> Sheet:
        x, y, turn = batch.x, batch.y, self.turn(update.step)
        with torch.set_grad_enabled(turn != "D"):
            refined = self.R(x)
        if turn == "D":
            update("D", **self.game.discriminator(self.D, y, self.history.mixed(refined)))
        else:
            gan = {"gan": self._fools(refined, y)} if turn == "R" else {}
            moved = l1(refined, x).detach()  # for the log: a constant adds no gradient
            update("R", **gan, reg=self.config.lambda_reg * self.changed(refined, x), moved=moved)
        return {"synthetic": x, "refined": refined, "real": y}

    def _fools(self, refined: Tensor, y: Tensor) -> Tensor:
        return self.game.generator(*self.game.look(self.D, refined, y))

    def changed(self, refined: Tensor, x: Tensor) -> Tensor:
        """|ψ(R(x)) - ψ(x)|_1, as a mean: how much of what must stay did not."""
        if self.perceptual:
            return self.perceptual(refined, x)
        psi = {"identity": widened, "gradient": gradient, "mean": mean_colour}[self.config.psi]
        return l1(psi(refined), psi(x))

    def sheet(self, batch: Batch) -> Sheet:
        return {"synthetic": batch.x, "refined": self.R(batch.x), "real": batch.y}

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        return self.R(x)

    def accepts(self) -> Accepts:
        return self.config.refiner.accepts()

    def smallest_crop(self) -> int:
        return max(2, self.config.discriminator.smallest())  # one pixel has no gradient


def gradient(x: Tensor) -> Tensor:
    """Differences to the right and to the lower neighbour: (B, C, H, W) -> (B, 2C, H - 1, W - 1)."""
    corner = widened(x)[..., :-1, :-1]
    return torch.cat([widened(x)[..., :-1, 1:] - corner, widened(x)[..., 1:, :-1] - corner], 1)


def mean_colour(x: Tensor) -> Tensor:
    """The mean of the channels, where colours may change: (B, C, H, W) -> (B, 1, H, W)."""
    return widened(x).mean(1, keepdim=True)
