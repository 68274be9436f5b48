"""Showing a discriminator changed images, so that few of them are not learned by heart (DiffAugment).

Zhao et al. 2020, arXiv:2006.10738: real and fake images are changed wherever D sees them, by changes that gradients can pass.
The ranges are those of the published code; that one draw serves a fake and its real partner is ours.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

Policy = Literal["color", "translation", "cutout"]
Change = Callable[[Tensor], Tensor]


def augmented(images: Sequence[Tensor], policies: Sequence[Policy], *, colours: int | None = None) -> list[Tensor]:
    """The same random changes for each of `images`, (B, C, H, W) in [-1, 1]; every place in the batch has its own.

    Colours change in the last `colours` channels alone (None: in all), so that a condition before them keeps its meaning;
    everything moves together. The draws come from torch's generator of the CPU, which a checkpoint carries.
    """
    changed = list(images)
    for policy in policies:
        change = DRAWS[policy](changed[0].shape, colours)
        changed = [change(x) for x in changed]
    return changed


def _color(shape: torch.Size, colours: int | None) -> Change:
    """Brightness + U(-0.5, 0.5), saturation * U(0, 2), contrast * U(0.5, 1.5). Nothing is clipped, so gradients survive."""
    draws, colours = torch.rand(3, shape[0], 1, 1, 1), shape[1] if colours is None else colours

    def change(x: Tensor) -> Tensor:
        brightness, saturation, contrast = draws.to(x)
        kept, image = x.split([shape[1] - colours, colours], 1)
        image = image + brightness - 0.5
        grey = image.mean(1, keepdim=True)
        image = grey + (image - grey) * 2 * saturation
        mean = image.mean((1, 2, 3), keepdim=True)
        image = mean + (image - mean) * (contrast + 0.5)
        return torch.cat([kept, image], 1)

    return change


def _translation(shape: torch.Size, _: int | None) -> Change:
    """By up to an eighth of a side, in whole pixels; zeros come in."""
    height, width = shape[2:]
    down, right = int(height / 8 + 0.5), int(width / 8 + 0.5)
    corners = list(zip(_integers(2 * down, shape[0]), _integers(2 * right, shape[0]), strict=True))

    def change(x: Tensor) -> Tensor:
        larger = pad(x, (right, right, down, down))
        return torch.stack([x[:, i : i + height, j : j + width] for x, (i, j) in zip(larger, corners, strict=True)])

    return change


def _cutout(shape: torch.Size, _: int | None) -> Change:
    """Zeros in a rectangle of half of each side, whose centre is anywhere in the image."""
    batch, sides = shape[0], shape[2:]
    height, width = (int(side / 2 + 0.5) for side in sides)
    rows, columns = _integers(sides[0] - height % 2, batch), _integers(sides[1] - width % 2, batch)
    kept = torch.ones(batch, 1, *sides)
    for image, i, j in zip(kept, rows, columns, strict=True):
        top, left = i - height // 2, j - width // 2
        image[:, max(top, 0) : top + height, max(left, 0) : left + width] = 0
    return lambda x: x * kept.to(x)


def _integers(largest: int, count: int) -> list[int]:
    """`count` draws from 0 to `largest`, both included."""
    return torch.randint(largest + 1, (count,)).tolist()


DRAWS: dict[Policy, Callable[[torch.Size, int | None], Change]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
"""Each draws once for a batch of this shape, and gives the change that follows."""
