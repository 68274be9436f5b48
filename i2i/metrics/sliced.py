"""Sliced Wasserstein distance of patches at every scale (Karras et al. 2018, arXiv:1710.10196, section 5 and appendix)."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from i2i.metrics.distributions import evenly

SMALLEST, PATCH, PATCHES = 16, 7, 128
DIRECTIONS, REPEATS = 128, 4
MOST = 65536
"""Patches of one level that are kept, of all images together: of more than 512 images there are fewer of each."""
BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def side(smallest: int) -> int | None:
    """The square that is cut from the middle of each image: the largest power of two that all have; None below 16."""
    power = 2 ** (max(smallest, 1).bit_length() - 1)
    return power if power >= SMALLEST else None


def patches(image: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
    """image: (C, side, side) -> for each level of its Laplacian pyramid, finest first, (count, C, 7, 7) from random places."""
    found = []
    for level in pyramid(image.float()):
        size = level.shape[-1]
        places = torch.randint(size - PATCH + 1, (2, count), generator=generator).to(level.device)
        within = torch.arange(PATCH, device=level.device)
        rows, columns = places[0, :, None, None] + within[:, None], places[1, :, None, None] + within
        found.append(level[:, rows, columns].transpose(0, 1))
    return found


def patches_each(images: int) -> int:
    return max(1, min(PATCHES, MOST // images))


def pyramid(image: Tensor) -> list[Tensor]:
    """What each halving loses (Burt and Adelson 1983), from full size down to 16 pixels; the last level is the rest."""
    levels = []
    while image.shape[-1] > SMALLEST:
        smaller = _smoothed(image)[:, ::2, ::2]
        levels.append(image - _doubled(smaller))
        image = smaller
    return [*levels, image]


def _smoothed(x: Tensor) -> Tensor:
    kernel = BINOMIAL.to(x)
    planes = pad(x[:, None], (2, 2, 2, 2), mode="reflect")
    return conv2d(conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


def _doubled(x: Tensor) -> Tensor:
    channels, height, width = x.shape
    spread = x.new_zeros(channels, 2 * height, 2 * width)
    spread[:, ::2, ::2] = x
    return 4 * _smoothed(spread)


def sliced_distances(fake: list[Tensor], real: list[Tensor], seed: int = 0) -> list[float]:
    """The distance at each level, x1000, as the paper prints it. Levels: (n, C, 7, 7), as `patches` gives them.

    Every channel of each set is first brought to mean 0 and deviation 1, as published: a shift of colours is not seen.
    """
    generator = torch.Generator().manual_seed(seed)
    return [1000 * _sliced(_normal(a), _normal(b), generator) for a, b in zip(fake, real, strict=True)]


def _normal(x: Tensor) -> Tensor:
    """(n, C, 7, 7) -> (n, C * 49)."""
    x = x.double()
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True, correction=0)
    return ((x - mean) / std.clamp(min=1e-8)).flatten(1).float()


def _sliced(a: Tensor, b: Tensor, generator: torch.Generator) -> float:
    """Rabin et al. 2011: the mean, over random directions, of the distance between the two sets as seen along it."""
    n = min(len(a), len(b))
    a, b = evenly(a, n), evenly(b, n)
    total = 0.0
    for _ in range(REPEATS):
        directions = torch.randn(a.shape[1], DIRECTIONS, generator=generator).to(a)
        directions /= directions.norm(dim=0)
        total += float(((a @ directions).sort(0).values - (b @ directions).sort(0).values).abs().mean())
    return total / REPEATS
