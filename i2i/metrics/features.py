"""What a network trained on photographs makes of an image: one vector. How images are resized for it is part of the metric."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

Resize = Literal["clean", "legacy"]
WORDS = {"clean": "bicubic with antialiasing", "legacy": "TensorFlow 1 bilinear, no antialiasing"}
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)


class FeatureNetwork(NamedTuple):
    """`describe` makes (B, 3, side, side) in 0..255 to (B, d) on its device. It is in evaluation mode."""

    describe: Callable[[Tensor], Tensor]
    side: int
    device: torch.device = torch.device("cpu")

    def __call__(self, image: Tensor, resize: Resize = "clean") -> Tensor:
        """image: (3, H, W) uint8, of any size, seen whole -> (d,) float32, on the CPU."""
        with torch.inference_mode():
            return self.describe(RESIZES[resize](image[None].float().to(self.device), self.side))[0].float().cpu()


def clean(x: Tensor, side: int) -> Tensor:
    """Parmar et al. 2022 (arXiv:2104.11222): as Pillow resizes floats, bicubic with antialiasing, clamped to 0..255."""
    return interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 255)


def legacy(x: Tensor, side: int) -> Tensor:
    """What TensorFlow 1 called bilinear: pixel i of n is read at i * old / n, between two neighbours. It aliases, it shifts."""
    return _between(_between(x, side).transpose(2, 3), side).transpose(2, 3)


def _between(x: Tensor, side: int) -> Tensor:
    """Along the last axis."""
    old = x.shape[-1]
    place = torch.arange(side, dtype=torch.float32, device=x.device) * torch.tensor(old / side, dtype=torch.float32)
    left = place.floor().long().clamp(max=old - 1)
    right = (left + 1).clamp(max=old - 1)
    return x[..., left] + (x[..., right] - x[..., left]) * (place - left)


RESIZES: dict[Resize, Callable[[Tensor, int], Tensor]] = {"clean": clean, "legacy": legacy}


def of_inception(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the last layer gets, of values (x - 128) / 128, as in the graph that FID was published with."""
    return lambda x: _before_last(network, (x - 128) / 128)


def of_classifier(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the last layer of a torchvision classifier gets, or of its `features` alone what comes out; mean over the image."""

    def describe(x: Tensor) -> Tensor:
        mean, std = IMAGENET.to(x)
        return _before_last(network, (x / 255 - mean) / std)

    return describe


def _before_last(network: nn.Module, x: Tensor) -> Tensor:
    if isinstance(network, nn.Sequential):  # layers of convolutions without a classifier
        return _pooled(network(x))
    *_, last = (layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    seen: list[Tensor] = []
    watch = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network(x)
    finally:
        watch.remove()
    return _pooled(seen[0])


def _pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3)) if x.ndim == 4 else x
