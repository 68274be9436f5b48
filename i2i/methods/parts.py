"""The parts that most papers here choose from, as settings, and how they are built from plain numbers."""

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from i2i.errors import UserError
from i2i.losses.adversarial import Game, GanName
from i2i.losses.augment import Policy
from i2i.losses.latent import mode_seeking
from i2i.losses.matcher import Matcher
from i2i.losses.perceptual import PIX2PIXHD_TAPS, STYLE_TAPS, FeatureNetworkName, Perceptual
from i2i.method import Accepts
from i2i.networks.latent_unet import LatentUNet
from i2i.networks.layers import InitialName, NormName, UpsampleName, initialise, spectrally_normalised, with_image_statistics
from i2i.networks.patchgan import PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet
from i2i.settings import Settings


class Initial(Settings):
    """How starting weights are drawn."""

    kind: InitialName = "normal"
    gain: float = 0.02


class Gan(Settings):
    """The adversarial game; `model.gan=hinge` is short for `model.gan.kind=hinge`. See `Game` for what each setting is."""

    kind: GanName = "lsgan"
    relativistic: bool = False
    real_label: float = Field(1.0, gt=0.5, le=1)
    lambda_gp: float = Field(10.0, ge=0)  # only for wgan-gp: Gulrajani et al. 2017, section 4
    r1: float = Field(0.0, ge=0)
    augment: tuple[Policy, ...] = ()
    margin: float = Field(0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _labels_have_a_meaning(self) -> "Gan":
        if self.real_label != 1 and self.kind not in ("vanilla", "lsgan"):
            raise ValueError(f"real_label means nothing to {self.kind}, which has no labels")
        return self

    def build(self, *, halved: bool = True, real_first: bool = False) -> Game:
        """`halved` and `real_first` are how the published code of a method does it."""
        values = self.model_dump(exclude={"lambda_gp"})
        return Game(**values, gp=self.lambda_gp, halved=halved, real_first=real_first)


class Features(Settings):
    """A network trained on photographs, whose features are compared: which, with which weights, and where it is tapped.

    `taps` and `style_taps` are weights by layer name; 0 leaves a layer out.
    """

    network: FeatureNetworkName = "vgg19"
    weights: str | None = None
    """A file of torchvision's weights (.pth or .safetensors); null: $I2I_WEIGHTS, then torchvision's own cache."""
    taps: dict[str, float] = PIX2PIXHD_TAPS
    style_taps: dict[str, float] = STYLE_TAPS
    pool: Literal["max", "avg"] = "max"
    normalize: Literal["none", "imagenet", "caffe"] = "none"
    distance: Literal["l1", "l2"] = "l1"

    def build(self, taps: dict[str, float] | None = None) -> Perceptual:
        values = self.model_dump(exclude={"taps", "style_taps"})
        return Perceptual(**values, taps={name: w for name, w in (taps or self.taps).items() if w})


class Matching(Settings):
    """What pulls an output towards its target, with weights; a config that builds on it has its own values for them."""

    lambda_l1: float = Field(0.0, ge=0)
    lambda_region: float = Field(0.0, ge=0)
    """How much more the L1 weighs where a mask of data.region says so."""
    lambda_feat: float = Field(0.0, ge=0)
    """Feature matching in the discriminator (Wang et al. 2018, arXiv:1711.11585, eq. 4)."""
    lambda_perceptual: float = Field(0.0, ge=0)
    """The same in a network trained on photographs (Johnson et al. 2016, arXiv:1603.08155, eq. 2)."""
    lambda_style: float = Field(0.0, ge=0)
    """Gram matrices of such features (Johnson et al. 2016, eq. 4)."""
    lambda_tv: float = Field(0.0, ge=0)
    """Total variation of the output."""
    perceptual: Features = Features()

    def matching(self) -> Matcher:
        weights = {name: value for name, value in self if name in Matching.model_fields and name.startswith("lambda_")}
        return Matcher(self.perceptual.build(), self.perceptual.build(self.perceptual.style_taps), **weights)


class ModeSeeking(Settings):
    """What G pays for making the same of two codes: `weight` times the loss of Mao et al. 2019 (arXiv:1903.05628) in its
    published form, or clipped at `tau`, which cannot explode (Yang et al. 2019, arXiv:1901.09024)."""

    weight: float = Field(0.0, ge=0)
    form: Literal["inverse", "clipped"] = "inverse"
    tau: float = Field(10.0, gt=0)

    def __call__(self, a: Tensor, b: Tensor, z_a: Tensor, z_b: Tensor) -> Tensor:
        return self.weight * mode_seeking(a, b, z_a, z_b, form=self.form, tau=self.tau)


class Generator(Settings):
    """A U-Net (`depth` halvings) or a ResNet (`blocks` residual blocks) with `width` channels at full size."""

    kind: Literal["unet", "resnet"] = "resnet"
    depth: int = Field(8, ge=2, le=12)
    blocks: int = Field(9, ge=0)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    dropout: bool = False
    upsample: UpsampleName = "transposed"

    def build(self, in_channels: int, out_channels: int, initial: Initial, *, z: int = 0) -> nn.Module:
        """With `z` numbers of noise it is called as G(x, z), which only a U-Net can be."""
        network: nn.Module
        if z:
            if self.kind != "unet":
                raise UserError("a ResNet takes no noise", "--set model.generator.kind=unet, or --set model.noise=0")
            network = LatentUNet(in_channels, out_channels, z=z, depth=self.depth, **self._shared())
        elif self.kind == "unet":
            network = UNet(in_channels, out_channels, depth=self.depth, **self._shared())
        else:
            network = ResNet(in_channels, out_channels, blocks=self.blocks, **self._shared())
        initialise(network, initial.kind, initial.gain)
        return with_image_statistics(network)

    def _shared(self) -> dict[str, Any]:
        return {"width": self.width, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}

    def accepts(self) -> Accepts:
        if self.kind == "unet":
            return Accepts(stride=2**self.depth, smallest=2**self.depth, halo=None)
        return Accepts(stride=4, smallest=8, halo=ResNet.halo(self.blocks, self.upsample))


class Discriminator(Settings):
    """A PatchGAN of `layers` layers (3: patches of 70 pixels) or a pixel-wise one, with `width` channels in its first layer."""

    kind: Literal["patch", "pixel"] = "patch"
    layers: int = Field(3, ge=1)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    spectral_norm: bool = False

    def build(self, in_channels: int, initial: Initial) -> nn.Module:
        network: nn.Module
        if self.kind == "pixel":
            network = PixelGAN(in_channels, width=self.width, norm=self.norm)
        else:
            network = PatchGAN(in_channels, layers=self.layers, width=self.width, norm=self.norm)
        initialise(network, initial.kind, initial.gain)
        return spectrally_normalised(network) if self.spectral_norm else network

    def smallest(self) -> int:
        return 1 if self.kind == "pixel" else PatchGAN.smallest(self.layers)
