"""The parts that most papers here choose from, as settings, and how they are built from plain numbers."""

from typing import Any, Literal

from pydantic import Field
from torch import nn

from i2i.method import Accepts
from i2i.networks.layers import InitialName, NormName, UpsampleName, initialise, spectrally_normalised, with_image_statistics
from i2i.networks.patchgan import PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet
from i2i.settings import Settings


class Initial(Settings):
    """How starting weights are drawn."""

    kind: InitialName = "normal"
    gain: float = 0.02


class Generator(Settings):
    """A U-Net (`depth` halvings) or a ResNet (`blocks` residual blocks) with `width` channels at full size."""

    kind: Literal["unet", "resnet"] = "resnet"
    depth: int = Field(8, ge=2, le=12)
    blocks: int = Field(9, ge=0)
    width: int = Field(64, ge=1)
    norm: NormName = "instance"
    dropout: bool = False
    upsample: UpsampleName = "transposed"

    def build(self, in_channels: int, out_channels: int, initial: Initial) -> nn.Module:
        network: nn.Module
        if self.kind == "unet":
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
