"""Dropout while images are translated: the only noise that pix2pix has (Isola et al. 2017, section 3.1, "at both training and
test time").

What is dropped is a function of a seed, the layer, and the place in the image. So the same seed gives the same image, whatever
else is in its batch, and tiles fit together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from i2i.errors import UserError

BITS = 0xFFFFFFFF


def dropouts(network: nn.Module) -> list[nn.Dropout]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Dropout)]


def require(network: nn.Module) -> None:
    """Raise UserError where there is nothing that could be noise."""
    if not dropouts(network):
        raise UserError(
            "this model has no dropout, which would be the noise",
            "leave --noise out; pix2pix and bicyclegan have it where they are trained with model.generator.dropout=true",
        )


@contextmanager
def drawn(network: nn.Module, seeds: Sequence[int] | None, rows: slice, columns: slice) -> Iterator[None]:
    """Let the dropouts of a network in eval mode drop what the seed of each image of the batch says, or nothing without seeds.

    The network sees `rows` and `columns` of each image, in pixels.
    """
    layers = dropouts(network) if seeds is not None else []
    for number, layer in enumerate(layers):
        layer.forward = partial(_dropped, layer.p, number, seeds or (), rows, columns)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _dropped(p: float, number: int, seeds: Sequence[int], rows: slice, columns: slice, x: Tensor) -> Tensor:
    """x: (B, C, h, w), made of what is seen. What is left is larger by as much as is gone, as in training."""
    numbers = torch.tensor(seeds, device=x.device)
    height, width = x.shape[2:]
    places = (torch.arange(x.shape[1]), _places(rows, height), _places(columns, width))
    for indices in (torch.tensor([number]), *places):
        numbers = scrambled((numbers[..., None] + indices.to(x.device)) & BITS)
    return torch.where(numbers[:, 0] < p * (BITS + 1), 0, x / (1 - p))


def _places(seen: slice, length: int) -> Tensor:
    """Where the `length` cells of a map lie in the map of the whole image."""
    pixels = (seen.stop - seen.start) // length
    return seen.start // pixels + torch.arange(length)


def scrambled(numbers: Tensor) -> Tensor:
    """Numbers of 32 bits, in int64 -> others that look random, of any shape (Wellons 2018, "Prospecting for hash functions").

    Of a product that overflows the lower 32 bits are still right.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        numbers = ((numbers ^ (numbers >> shift)) * factor) & BITS
    return numbers ^ (numbers >> 16)
