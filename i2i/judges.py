"""The networks that judge images: found among files of published weights, checked and opened. Nothing is ever downloaded."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2i.errors import UserError
from i2i.losses.weight_files import published, read_tensors, sha256
from i2i.metrics.features import FeatureNetwork, of_classifier, of_inception
from i2i.metrics.lpips import BACKBONES, Lpips, Version

PUBLISHED = "inception"
"""The network that FID and KID are defined with."""
INCEPTION = ("pt_inception-2015-12-05", "weights-inception-2015-12-05")
INCEPTION_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
CLASSIFIER_SIDE = 224
PLACES = "a folder or file named with --weights or $I2I_WEIGHTS"


class Missing(UserError):
    """No file of weights is there that a metric could use. The hint says what to fetch."""


@dataclass(frozen=True)
class Judge:
    """A network, what it is called in the name of a metric, and the file that it came from."""

    network: Any
    name: str
    file: Path
    sha256: str


def places(given: Sequence[Path] = ()) -> list[Path]:
    """Where weights are looked for, in this order: what is given, $I2I_WEIGHTS, torchvision's own cache."""
    own = os.environ.get("I2I_WEIGHTS")
    found = [*given, *([Path(own)] if own else [])]
    for place in (place.expanduser() for place in found):
        if not place.exists():
            raise UserError(f"there is no file or folder '{place}' with weights", "check --weights and $I2I_WEIGHTS")
    return [*(place.expanduser() for place in found), Path(torch.hub.get_dir()) / "checkpoints"]


def features(where: Sequence[Path], device: torch.device) -> Judge:
    """The network of FID and KID; where only another classifier is at hand, that. Raises Missing where there is neither."""
    candidates = [file for place in where for file in _weight_files(place)]
    for file in candidates:
        if file.name.startswith(INCEPTION):
            return Judge(_inception(file, device), PUBLISHED, file, sha256(file))
    for file in candidates:
        if name := architecture(file):
            network = _classifier(name, file, device)
            return Judge(FeatureNetwork(of_classifier(network), CLASSIFIER_SIDE, device), name, file, sha256(file))
    raise Missing(
        "KID, FID and all else in features need the weights of Inception, or of another classifier",
        f"put {INCEPTION_URL} (96 MB) into '{where[-1]}', or into {PLACES}",
    )


def lpips(where: Sequence[Path], version: Version, device: torch.device) -> Judge:
    """LPIPS with the backbone that is wanted most, wherever it lies; files that are named go before what folders hold.

    Raises Missing where there is none.
    """
    named, lying = (
        [f for place in where if place.is_file() == single for f in _weight_files(place)] for single in (True, False)
    )
    for candidates in (named, lying):
        for net, (backbone, _) in BACKBONES.items():
            for file in candidates:
                if architecture(file) == backbone:
                    layers = _classifier(backbone, file, device, only_features=True)
                    linear = [weight.to(device) for weight in linear_weights(net, version)]
                    return Judge(Lpips(net, layers, linear, version), net, file, sha256(file))
    urls = [published(BACKBONES[net][0]) for net in ("alex", "squeeze")]
    raise Missing(
        "LPIPS needs the weights of alexnet, squeezenet1_1 or vgg16",
        f"put {urls[0]} (233 MB), or {urls[1]} (5 MB), into '{where[-1]}', or into {PLACES}",
    )


def linear_weights(net: str, version: Version) -> list[Tensor]:
    """The learned weights of the authors, (C,) for each tap; they are small, and ship with the program."""
    import safetensors.torch

    with as_file(files("i2i.metrics") / "lpips_linear.safetensors") as path:
        stored = safetensors.torch.load_file(path)
    return [stored[f"v{version}.{net}.{tap}"] for tap in range(len(BACKBONES[net][1]))]


def architecture(file: Path) -> str | None:
    """The classifier of torchvision that the name of a file begins with: vgg16 of vgg16-397923af.pth; vgg16_bn is another."""
    return max((name for name in _classifiers() if file.name.startswith(name)), key=len, default=None)


@cache
def _classifiers() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


def _weight_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place] if place.is_file() else []
    return sorted(file for suffix in ("pth", "safetensors") for file in place.glob(f"*.{suffix}"))


def _inception(file: Path, device: torch.device) -> FeatureNetwork:
    from i2i.networks.inception import SIDE, fid_inception

    with torch.device("meta"):
        network = fid_inception()
    hint = f"expected is {INCEPTION_URL}"
    _fill(network, read_tensors(file, hint), file, hint)
    return FeatureNetwork(of_inception(_placed(network, device)), SIDE, device)


def _classifier(name: str, file: Path, device: torch.device, *, only_features: bool = False) -> nn.Module:
    """torchvision's network with the weights of a file, or its `features` where the file or the caller has no more."""
    from torchvision.models import get_model

    hint = f"expected is the state dict of torchvision's {name}, whole or its features alone, as .pth or .safetensors"
    state = read_tensors(file, hint)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of initial weights that nobody will see
        network = get_model(name, weights=None)
    if hasattr(network, "transform_input"):
        network.transform_input = True  # as torchvision itself does for published weights of googlenet and inception_v3
    if only_features or _has_features_alone(network, state):
        state, network = {key.removeprefix("features."): weight for key, weight in state.items()}, network.features
    _fill(network, state, file, hint)
    return _placed(network, device)


def _has_features_alone(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether nothing is there of the network's other parts; the keys may go with or without `features.` before them."""
    parts = {name for name, _ in network.named_children()}
    return "features" in parts and not {key.partition(".")[0] for key in state} & (parts - {"features"})


def _fill(network: nn.Module, state: dict[str, Tensor], file: Path, hint: str) -> None:
    wanted = network.state_dict()
    wrong = [key for key, like in wanted.items() if key in state and state[key].shape != like.shape]
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    for key in (*wrong, *missing):
        found = f"has the shape {tuple(state[key].shape)}" if key in state else "is not there"
        raise UserError(f"'{file}' does not hold the expected weights: {key} {found}", hint)
    taken = {key: state[key] for key in wanted if key in state}
    network.load_state_dict({key: t.float() if t.is_floating_point() else t for key, t in taken.items()}, assign=True)


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).eval()
