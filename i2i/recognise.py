"""What network a state dict of the published programs belongs to: its settings, read off the names and shapes of its weights.

The programs are pytorch-CycleGAN-and-pix2pix, pix2pixHD and BicycleGAN. The networks here have their key names.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from i2i.errors import UserError
from i2i.state_dicts import Weights

Kind = Literal[
    "U-Net",
    "ResNet",
    "coarse-to-fine generator",
    "U-Net with a code",
    "encoder of codes",
    "encoder of features",
    "PatchGAN",
    "PatchGAN of pix2pixHD",
    "PatchGAN of BicycleGAN",
]


@dataclass(frozen=True)
class Network:
    """`read` holds each setting by its name, with what it was read off. `weights` have the names of our own network."""

    kind: Kind
    weights: Weights
    into: int
    out: int
    read: dict[str, tuple[Any, str]]

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, (value, _) in self.read.items()}


def generator(weights: Weights, *, z: int = 0, coarse_to_fine: bool = False) -> Network:
    """Of a code encoder beside it the length `z` of a code is known; `coarse_to_fine`: what is beside it is pix2pixHD's.

    Without those two an image with a code behind each pixel is an image of many channels, and pix2pixHD's global generator
    with two halvings a ResNet, which is the same function.
    """
    if "model.down.0.weight" in weights:
        return _latent_unet(weights)
    if "model.model.0.weight" in weights:
        return _unet(weights, z)
    if "model.1.weight" in weights and weights["model.1.weight"].shape[2:] == (7, 7):
        local = "model1_1.1.weight" in weights
        return _residual(weights, coarse=coarse_to_fine or local or _halvings(weights, local) != 2, local=local)
    raise _unknown("generator", weights)


def encoder(weights: Weights) -> Network:
    """BicycleGAN's, from an image to a code, or pix2pixHD's, from an image to features of its things."""
    if "fcVar.0.weight" in weights and "conv.0.weight" in weights:
        return _code_encoder(weights)
    if "model.1.weight" not in weights:
        raise _unknown("encoder", weights)
    width, into = weights["model.1.weight"].shape[:2]
    *_, last = _convolutions(weights, r"model\.(\d+)\.weight")
    read = {
        "width": (width, _shape(weights, "model.1.weight")),
        "halvings": (_halvings(weights, local=False), "the number of convolutions"),
        "norm": _norm(weights),
    }
    return Network("encoder of features", weights, into, len(weights[last]), read)


def discriminator(weights: Weights) -> Network:
    """A PatchGAN or a pixel-wise one, pix2pixHD's of many scales, or BicycleGAN's."""
    if "layer0.0.weight" in weights:  # as pix2pixHD has it where features are not matched
        weights = _in_stages(weights)
    for kind, pattern in {
        "PatchGAN of pix2pixHD": r"scale(\d+)_layer\d+\.0\.weight",
        "PatchGAN of BicycleGAN": r"model_(\d+)\.\d+\.weight",
        "PatchGAN": r"()(?:model|net)\.\d+\.weight",
    }.items():
        if found := _convolutions(weights, pattern):
            return _patches(kind, weights, found, len({re.fullmatch(pattern, key)[1] for key in found}))  # type: ignore
    raise _unknown("discriminator", weights)


def _patches(kind: Kind, weights: Weights, found: list[str], scales: int) -> Network:
    first, layers = found[0], len(found) // scales - 2
    pixel = first.startswith("net.")
    read: dict[str, tuple[Any, str]] = {
        **({"kind": ("pixel" if pixel else "patch", first)} if kind == "PatchGAN" else {"scales": (scales, "the names")}),
        **({} if pixel else {"layers": (layers, f"{len(found) // scales} convolutions each")}),
        "width": (len(weights[first]), _shape(weights, first)),
        "norm": _norm(weights, "net.2.bias" if pixel else "model.2.bias" if kind == "PatchGAN" else None),
    }
    return Network(kind, weights, weights[first].shape[1], 1, read)


def _in_stages(weights: Weights) -> Weights:
    """`layer0.2`, `layer0.3` … renamed to `scale0_layer1.0`, `scale0_layer1.1` …: a stage for each convolution."""
    renamed = {}
    for name, tensor in weights.items():
        scale, n, leaf = re.fullmatch(r"layer(\d+)\.(\d+)\.(\w+)", name).groups()  # type: ignore[union-attr]
        first = [int(key.split(".")[1]) for key in _convolutions(weights, rf"layer{scale}\.(\d+)\.weight")]
        stage = max(i for i, start in enumerate(first) if start <= int(n))
        renamed[f"scale{scale}_layer{stage}.{int(n) - first[stage]}.{leaf}"] = tensor
    return renamed


def _residual(weights: Weights, *, coarse: bool, local: bool) -> Network:
    """A ResNet, or pix2pixHD's global generator, alone or in its rings. What holds the layers of a block may have any name."""
    weights = {re.sub(r"^(model\w*\.\d+)\.[a-z]\w*\.", r"\1.conv_block.", name): tensor for name, tensor in weights.items()}
    plain = _convolutions(weights, r"model\.(\d+)\.weight")
    inside = _blocks(weights, "model")
    enhancers = len([name for name in weights if re.fullmatch(r"model\d+_1\.1\.weight", name)])
    outermost = f"model{enhancers}_1.1.weight" if local else "model.1.weight"
    last = _convolutions(weights, rf"model{enhancers}_2\.(\d+)\.weight" if local else r"model\.(\d+)\.weight")[-1]
    halvings = _halvings(weights, local)
    up = plain[halvings + 1] if halvings and len(plain) > halvings + 1 else None
    read: dict[str, tuple[Any, str]] = {} if coarse else {"kind": ("resnet", "model.1.weight")}
    read |= {
        "width": (len(weights[outermost]), _shape(weights, outermost)),
        "blocks": (len(inside), f"model.{min(inside)} to model.{max(inside)}" if inside else "no block"),
        "upsample": (_doubling(weights, up), _shape(weights, up) if up else "no layer"),
        "norm": _norm(weights, None if coarse else "model.1.bias"),
    }
    if coarse:
        read["halvings"] = halvings, f"{len(plain)} convolutions outside of blocks"
        read["enhancers"] = enhancers, f"model{enhancers}_1 and model{enhancers}_2" if local else "no model1_1"
    else:
        dropout = bool(_convolutions(weights, r"()model\.\d+\.conv_block\.6\.weight"))
        read["dropout"] = dropout, "conv_block.6" if dropout else "conv_block.5"
    if local:
        read["local_blocks"] = len(_blocks(weights, "model1_2")), "model1_2"
    kind: Kind = "coarse-to-fine generator" if coarse else "ResNet"
    return Network(kind, weights, weights[outermost].shape[1], len(weights[last]), read)


def _unet(weights: Weights, z: int) -> Network:
    """pix2pix's; with a code also BicycleGAN's, where the code is given beside the image."""
    first, last = "model.model.0.weight", _convolutions(weights, r"model\.model\.(\d+)\.weight")[-1]
    read = {
        "depth": (len(_convolutions(weights, r"()model\..+\.weight")) // 2, "the nesting of model"),
        "width": (len(weights[first]), _shape(weights, first)),
        "upsample": (_doubling(weights, last), _shape(weights, last)),
        "norm": _norm(weights, None if z else "model.model.0.bias"),
        **({"where": ("input", "no model.down")} if z else {"kind": ("unet", first)}),
    }
    into, out = weights[first].shape[1] - z, _out(weights, last)
    return Network("U-Net with a code" if z else "U-Net", weights, into, out, read)


def _latent_unet(weights: Weights) -> Network:
    """BicycleGAN's, where every level is given the code, whose length the second level takes more than the first gives."""
    first, last = "model.down.0.weight", _convolutions(weights, r"model\.up\.(\d+)\.weight")[-1]
    second = "model.submodule.down.1.weight"
    z = weights[second].shape[1] - len(weights[first])
    read = {
        "depth": (len(_convolutions(weights, r"()model\.(?:submodule\.)*down\.\d+\.weight")), "the nesting of submodule"),
        "width": (len(weights[first]), _shape(weights, first)),
        "upsample": (_doubling(weights, last), _shape(weights, last)),
        "norm": _norm(weights),
        "where": ("all", _shape(weights, second)),
    }
    return Network("U-Net with a code", weights, weights[first].shape[1] - z, _out(weights, last), read)


def _code_encoder(weights: Weights) -> Network:
    shortcuts = _convolutions(weights, r"conv\.(\d+)\.shortcut\.1\.weight")
    plain = _convolutions(weights, r"conv\.(\d+)\.weight")
    read = {
        "kind": ("residual" if shortcuts else "conv", "conv.1.shortcut" if shortcuts else "no shortcut"),
        "blocks": (len(shortcuts) + len(plain), "the number of convolutions that halve"),
        "width": (len(weights["conv.0.weight"]), _shape(weights, "conv.0.weight")),
        "norm": _norm(weights),
    }
    return Network("encoder of codes", weights, weights["conv.0.weight"].shape[1], len(weights["fc.0.weight"]), read)


def _norm(weights: Weights, bias: str | None = None) -> tuple[str, str]:
    """`bias`: one that is there in front of an instance norm and not where there is no norm at all, where the two differ."""
    scale = next((name for name, tensor in weights.items() if name.endswith(".weight") and tensor.ndim == 1), None)
    statistics = next((name for name in weights if name.endswith(".running_mean")), None)
    if scale and statistics:
        return "batch", f"{scale} and {statistics}"
    if scale:
        return "batch", f"{scale}, but no running_mean: an instance norm that scales is a batch norm of each image alone"
    if statistics:
        return "instance", f"{statistics}, but no norm has a weight: an instance norm of old"
    if bias and bias not in weights:
        return "none", f"no norm has a weight, and there is no {bias}"
    return "instance", f"no norm has a weight{f', but there is {bias}' if bias else '; none at all would look the same'}"


def _halvings(weights: Weights, local: bool) -> int:
    """As many convolutions lead down as up; beside them there is the first, and where it makes an image the last."""
    return (len(_convolutions(weights, r"model\.(\d+)\.weight")) - (1 if local else 2)) // 2


def _blocks(weights: Weights, part: str) -> set[int]:
    return {int(found[1]) for name in weights if (found := re.match(rf"{part}\.(\d+)\.conv_block\.", name))}


def _convolutions(weights: Weights, pattern: str) -> list[str]:
    """The names of convolutions that match, in the order of the first number in the pattern."""
    matches = [match for name, tensor in weights.items() if tensor.ndim == 4 and (match := re.fullmatch(pattern, name))]
    return [match[0] for match in sorted(matches, key=lambda match: int(match[1] or 0))]


def _doubling(weights: Weights, name: str | None) -> str:
    """How a layer that doubles the size does that. Transposed: in U-Nets even kernels, elsewhere inputs before outputs."""
    if name is None:
        return "transposed"
    given, taken, kernel, _ = weights[name].shape
    if "model.1.weight" in weights:
        return "transposed" if given == 2 * taken else "resize"
    return "transposed" if kernel == 4 else "bilinear" if name in ("model.up.3.weight", "model.model.5.weight") else "resize"


def _out(weights: Weights, name: str) -> int:
    return weights[name].shape[1 if weights[name].shape[2] == 4 else 0]


def _shape(weights: Weights, name: str) -> str:
    return f"{name} is {'x'.join(map(str, weights[name].shape))}"


def _unknown(what: str, weights: Weights) -> UserError:
    names = list(weights)[:3]
    return UserError(
        f"it holds no {what} of pix2pix, CycleGAN, pix2pixHD or BicycleGAN",
        f"its first weights are {', '.join(map(repr, names))}",
    )
