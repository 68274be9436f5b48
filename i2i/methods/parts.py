"""The parts that most papers here choose from, as settings, and how they are built from plain numbers."""

from typing import Any, Literal, TypeVar

import torch
from pydantic import Field, field_validator, model_validator
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
from i2i.networks.patchgan import HalvingPatchGAN, MultiScalePatchGAN, PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet
from i2i.settings import Settings

Network = TypeVar("Network", bound=nn.Module)


class Initial(Settings):
    """How starting weights are drawn."""

    kind: InitialName = "normal"
    gain: float = 0.02

    def start(self, network: Network) -> Network:
        """The same network with drawn weights; in eval mode its norms take the statistics of each image alone."""
        initialise(network, self.kind, self.gain)
        with_image_statistics(network)
        return network


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

    @field_validator("augment", mode="before")
    @classmethod
    def _one_policy_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _labels_have_a_meaning(self) -> "Gan":
        if self.relativistic and self.kind == "wgan-gp":
            raise ValueError("relativistic means nothing to wgan-gp, whose critic compares the means already")
        if self.real_label != 1 and self.kind not in ("vanilla", "lsgan"):
            raise ValueError(f"real_label means nothing to {self.kind}, which has no labels")
        return self

    def build(self, *, halved: bool = True, real_first: bool = False, pairs: bool = True) -> Game:
        """`halved` and `real_first` are how the published code of a method does it; `pairs`: D sees partners."""
        if self.margin and not pairs:
            raise UserError(
                "model.gan.margin keeps the features of partners apart, and here real and fake are none", "leave it at 0"
            )
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

    def build(self, taps: dict[str, float] | None = None, *, without: str = "model.lambda_perceptual=0") -> Perceptual:
        """`without`: the setting that trains without it."""
        values = self.model_dump(exclude={"taps", "style_taps"})
        chosen = self.taps if taps is None else taps
        return Perceptual(**values, taps={name: weight for name, weight in chosen.items() if weight}, without=without)


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

    @model_validator(mode="after")
    def _region_has_something_to_weigh(self) -> "Matching":
        if self.lambda_region and not self.lambda_l1:
            raise ValueError("lambda_region weighs the L1, and lambda_l1 is 0")
        return self

    def matching(self) -> Matcher:
        weights = {name: value for name, value in self if name in Matching.model_fields and name.startswith("lambda_")}
        perceptual = self.perceptual.build() if self.lambda_perceptual else None
        style = self.perceptual.build(self.perceptual.style_taps, without="model.lambda_style=0") if self.lambda_style else None
        return Matcher(perceptual, style, **weights)

    @property
    def matches(self) -> bool:
        """Whether there is anything to match."""
        return any(value for name, value in self if name.startswith("lambda_") and name != "lambda_region")


class ModeSeeking(Settings):
    """What G pays for making the same of two codes: `weight` times the loss of Mao et al. 2019 (arXiv:1903.05628) in its
    published form, or the linear one of Yang et al. 2019 (arXiv:1901.09024), which cannot explode and is clipped at `tau`."""

    weight: float = Field(0.0, ge=0)
    form: Literal["inverse", "clipped"] = "inverse"
    tau: float = Field(0.5, gt=0)
    """Far enough: the mean difference of two images in [-1, 1] for each unit between codes; random ones are 1.1 apart."""

    def terms(self, G: nn.Module, x: Tensor, z: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """{"ms": what G pays}, where that weighs anything. The second sample is not judged, since the first is as random."""
        if not self.weight:
            return {}
        other = torch.randn_like(z)
        return {"ms": self.weight * mode_seeking(fake, G(x, other), z, other, form=self.form, tau=self.tau)}


class ScaledDiscriminator(Settings):
    """PatchGANs of `layers` layers at full resolution, at half of it, and so on: `scales` of them."""

    scales: int = Field(2, ge=1)
    layers: int = Field(3, ge=1)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    spectral_norm: bool = False

    def build(self, kind: type[MultiScalePatchGAN | HalvingPatchGAN], in_channels: int, initial: Initial) -> nn.Module:
        network = kind(in_channels, **self.model_dump(exclude={"spectral_norm"}))
        initialise(network, initial.kind, initial.gain)
        return spectrally_normalised(network) if self.spectral_norm else network


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
                raise UserError("a ResNet takes no noise", "--set model.generator.kind=unet, or --set model.z=0")
            network = LatentUNet(in_channels, out_channels, z=z, depth=self.depth, **self._shared())
        elif self.kind == "unet":
            network = UNet(in_channels, out_channels, depth=self.depth, **self._shared())
        else:
            network = ResNet(in_channels, out_channels, blocks=self.blocks, **self._shared())
        return initial.start(network)

    def _shared(self) -> dict[str, Any]:
        return {"width": self.width, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}

    def accepts(self) -> Accepts:
        if self.kind == "unet":
            return Accepts(stride=2**self.depth, smallest=2**self.depth, halo=UNet.halo(self.depth))
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


def require_side(y: Tensor, smallest: int) -> None:
    """Raise UserError where an image (B, C, H, W) is too small to take a style from."""
    height, width = y.shape[2:]
    if min(height, width) < smallest:
        raise UserError(
            f"an image of {width}x{height} is too small to take a style from", f"both sides need {smallest} pixels at least"
        )
