"""Comparing images by what a network trained on photographs sees in them (Johnson et al. 2016, arXiv:1603.08155)."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from i2i.errors import UserError, meant
from i2i.losses import widened
from i2i.losses.matching import style
from i2i.losses.weight_files import published, read_tensors

FeatureNetworkName = Literal["vgg16", "vgg19"]
PoolName = Literal["max", "avg"]
NormalizeName = Literal["none", "imagenet", "caffe"]
DistanceName = Literal["l1", "l2"]

PIX2PIXHD_TAPS = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}
"""Of the code published with Wang et al. 2018 (arXiv:1711.11585), for vgg19 and images that are not normalised."""

CRN_TAPS = {"input": 1.0, "relu1_2": 1 / 1.6, "relu2_2": 1 / 2.3, "relu3_2": 1 / 1.8, "relu4_2": 1 / 2.8, "relu5_2": 10 / 0.8}
"""Of the code published with Chen and Koltun 2017 (arXiv:1707.09405) for 256 pixels: tied to the original vgg19 weights of
Simonyan and Zisserman, average pooling and `normalize="caffe"`."""

STYLE_TAPS = {"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0}
"""Of the code published with Johnson et al. 2016, for vgg16."""

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""How many there are in each block, each with a ReLU; a pooling ends the block (Simonyan and Zisserman 2015, table 1)."""


class Perceptual:
    """Weighted distances of two images at some layers of a frozen network. Images: (B, 1 or 3, H, W) in [-1, 1].

    `taps` are weights by layer: relu1_1, relu1_2, ..., each after its ReLU, and "input", the image as the network gets it.
    `normalize` says what that is: "none" the image as it is, as pix2pixHD does; "imagenet" what torchvision's weights were
    trained on; "caffe" RGB in 0..255 less the mean colour, for the original weights. `distance` l1 or l2: of single values,
    absolute or squared. It is no module and holds none, so that nothing of the network gets into a checkpoint. `without` is the
    setting that trains without the network, for who does not have its weights.
    """

    def __init__(
        self,
        *,
        network: FeatureNetworkName = "vgg19",
        weights: str | None = None,
        taps: Mapping[str, float],
        pool: PoolName = "max",
        normalize: NormalizeName = "none",
        distance: DistanceName = "l1",
        without: str = "model.lambda_perceptual=0",
    ):
        self.layers = layers_for(network, taps)
        self.network, self.weights, self.lambdas, self.without = network, weights, dict(taps), without
        self.pool, self.normalize, self.distance = pool, normalize, {"l1": l1_loss, "l2": mse_loss}[distance]

    @property
    def smallest(self) -> int:
        """The smallest side in pixels that reaches the deepest tap: 16 for relu5_1."""
        return 2 ** sum(name.startswith("pool") for name in self.layers)

    def require(self, channels: int = 3) -> None:
        """Load the network, or raise UserError that says which file is wanted, where it goes, and how to do without."""
        self._require_channels(channels)
        try:
            features(self.network, self.weights, torch.device("cpu"), torch.float32)
        except UserError as error:
            raise UserError(error.message, f"{error.hint}; {self._way_out()}" if error.hint else self._way_out()) from error

    def _require_channels(self, channels: int) -> None:
        if channels not in (1, 3):
            raise UserError(f"perceptual losses see images of 1 or 3 channels, not of {channels}", self._way_out())

    def _way_out(self) -> str:
        return f"--set {self.without} trains without it"

    def __call__(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted sum of the mean distances. No gradient goes into `real`."""
        return torch.stack([self.lambdas[tap] * self.distance(a, b) for tap, a, b in self._both(fake, real)]).sum()

    def style(self, fake: Tensor, real: Tensor) -> Tensor:
        """The weighted sum of the distances between Gram matrices: textures, wherever they are. No gradient into `real`."""
        return torch.stack([self.lambdas[tap] * style(a, b) for tap, a, b in self._both(fake, real)]).sum()

    def taps(self, image: Tensor) -> dict[str, Tensor]:
        """What the network sees, by tap: (B, C, h, w), with gradients into the image. It runs only as deep as it must."""
        x = self._prepared(image)
        network = features(self.network, self.weights, x.device, x.dtype)
        seen = {"input": x}
        with torch.autocast(x.device.type, enabled=False):  # features of 0..255 would overflow float16
            for name, layer in zip(self.layers, network):  # noqa: B905  only as deep as the deepest tap
                x = avg_pool2d(x, 2) if self.pool == "avg" and name.startswith("pool") else layer(x)
                if name in self.lambdas:
                    seen[name] = x
        return {tap: seen[tap] for tap in self.lambdas}

    def _both(self, fake: Tensor, real: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        with torch.no_grad():
            wanted = self.taps(real)
        return ((tap, widened(a), widened(wanted[tap])) for tap, a in self.taps(fake).items())

    def _prepared(self, image: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [-1, 1] -> (B, 3, H, W) as the network is to get it."""
        channels, *sides = image.shape[1:]
        self._require_channels(channels)
        if min(sides) < self.smallest:
            reason = f"perceptual losses at {self.layers[-1]} need {self.smallest} pixels a side, not {min(sides)}"
            raise UserError(reason, self._way_out())
        return normalized(widened(image).expand(-1, 3, -1, -1), self.normalize)


def normalized(x: Tensor, normalize: NormalizeName) -> Tensor:
    """x: (B, 3, H, W), RGB in [-1, 1]. The constants of ImageNet are torchvision's, those of caffe are of the VGG authors."""
    if normalize == "imagenet":
        mean, std = x.new_tensor((0.485, 0.456, 0.406)), x.new_tensor((0.229, 0.224, 0.225))
        return ((x + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    if normalize == "caffe":
        return (x + 1) * 127.5 - x.new_tensor((123.68, 116.779, 103.939)).view(3, 1, 1)
    return x


# The layers


def layer_names(network: FeatureNetworkName) -> list[str]:
    """conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1 and so on: the layers of torchvision's `features` in their order."""
    names = []
    for block, convolutions in enumerate(CONVOLUTIONS[network], 1):
        names += [f"{kind}{block}_{n}" for n in range(1, convolutions + 1) for kind in ("conv", "relu")] + [f"pool{block}"]
    return names


def layers_for(network: FeatureNetworkName, taps: Iterable[str]) -> list[str]:
    """The layers that the deepest tap needs. Raises UserError for a tap that the network does not have."""
    names = layer_names(network)
    depths = {"input": 0} | {name: depth for depth, name in enumerate(names, 1) if name.startswith("relu")}
    for tap in taps:
        if tap not in depths:
            near = meant(tap, depths)
            raise UserError(f"{network} has no layer '{tap}' to tap: it has {', '.join(depths)}", near)
    if not taps:
        raise UserError("perceptual losses need at least one layer to compare", f"{network} has {', '.join(depths)}")
    return names[: max(depths[tap] for tap in taps)]


# The frozen network: one a process and device, in no checkpoint


def features(network: FeatureNetworkName, weights: str | None, device: torch.device, dtype: torch.dtype) -> nn.Sequential:
    """The convolutions of a trained network, frozen: the only place where `requires_grad` is touched.

    It is loaded once. Nothing is ever downloaded: without a file of weights there is a UserError that says how to get one.
    """
    return _placed(network, weights_file(network, weights).resolve(), device, dtype)


@cache
def _placed(network: FeatureNetworkName, file: Path, device: torch.device, dtype: torch.dtype) -> nn.Sequential:
    loaded = _loaded(network, file)
    if (device.type, dtype) == ("cpu", torch.float32):
        return loaded
    return copy.deepcopy(loaded).to(device, dtype)


@cache
def _loaded(network: FeatureNetworkName, file: Path) -> nn.Sequential:
    empty = architecture(network)
    empty.load_state_dict(read_weights(network, file, empty.state_dict()), assign=True)
    return empty.eval().requires_grad_(False)


def architecture(network: FeatureNetworkName) -> nn.Sequential:
    """torchvision's layers, without memory for weights."""
    from torchvision.models import get_model  # slow to import, and most runs do without

    with torch.device("meta"):
        return get_model(network, weights=None, init_weights=False).features


# The file of weights


def weights_file(network: FeatureNetworkName, weights: str | None) -> Path:
    """The given file, else that of $I2I_WEIGHTS (a file, or a folder to look in), else torchvision's in its own cache."""
    if weights is not None:
        if not Path(weights).expanduser().is_file():
            raise UserError(f"there is no file '{weights}' with the weights of {network}", "check model.perceptual.weights")
        return Path(weights).expanduser()
    url, downloads = published(network), Path(torch.hub.get_dir()) / "checkpoints"
    name, own = url.rpartition("/")[2], os.environ.get("I2I_WEIGHTS")
    if own and not Path(own).expanduser().exists():
        raise UserError(f"$I2I_WEIGHTS names '{own}', and there is no such file or folder", "correct it, or unset it")
    for file in (*(_candidates(Path(own).expanduser(), network, name) if own else ()), downloads / name):
        if file.is_file():
            return file
    raise UserError(
        f"perceptual losses need the weights of {network}, and there is no {name} in '{downloads}'",
        f"put {url} there, or name a file with --set model.perceptual.weights=FILE or $I2I_WEIGHTS",
    )


def _candidates(place: Path, network: FeatureNetworkName, name: str) -> list[Path]:
    """What may be meant by a place: the file itself, torchvision's name in it, another name that begins with the network's."""
    others = [file for suffix in ("pth", "safetensors") for file in sorted(place.glob(f"{network}*.{suffix}"))]
    with_batch_norm = f"{network}_bn"  # has other layers
    return [place, place / name, *(file for file in others if not file.name.startswith(with_batch_norm))]


def read_weights(network: FeatureNetworkName, file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The convolutions in a file, in float32, whether it holds torchvision's whole network or only its `features`."""
    hint = f"expected is the state dict of torchvision's {network}, whole or its features alone, as .pth or .safetensors"
    stored = {name.removeprefix("features."): tensor for name, tensor in read_tensors(file, hint).items()}
    for name, like in expected.items():
        if name not in stored or stored[name].shape != like.shape:
            found = f"has the shape {tuple(stored[name].shape)}" if name in stored else "is not there"
            raise UserError(f"'{file}' does not hold the weights of {network}: {name} {found}", hint)
    return {name: stored[name].float() for name in expected}
