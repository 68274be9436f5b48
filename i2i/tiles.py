"""One image in tiles, for less memory: to float noise the same as in one piece, or blended where every pixel sees the whole.

A norm that takes the statistics of the image at hand would give each tile others. So these are measured first, over the whole
image, norm by norm: a pass over all tiles computes as far as the first norm of which they are not known yet. A network with L
such norms takes L + 1 passes, on average half as deep as the network.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from i2i import norms
from i2i.method import Accepts
from i2i.norms import Moments, Statistics

Translate = Callable[[slice, slice], Tensor]
"""Rows and columns of an image -> what the network makes of that crop alone, (B, C, rows, columns); B is 1."""

Piece = tuple[slice, slice, Tensor]
"""Rows and columns of the result, and what belongs there, (B, C, rows, columns)."""


class Span(NamedTuple):
    """Along one side of an image: the network sees `seen`, and `kept` of that counts, measured in pixels from the border."""

    seen: slice
    kept: slice

    def within(self, length: int) -> slice:
        """Where `kept` lies in a map of this length that was made of `seen`."""
        pixels = (self.seen.stop - self.seen.start) // length
        return slice((self.kept.start - self.seen.start) // pixels, (self.kept.stop - self.seen.start) // pixels)


class Tile(NamedTuple):
    rows: Span
    columns: Span

    def cropped(self, x: Tensor) -> Tensor:
        """The kept part of a map (B, C, h, w) that was made of what is seen."""
        return x[..., self.rows.within(x.shape[-2]), self.columns.within(x.shape[-1])]


def tiled(
    translate: Translate,
    size: tuple[int, int],
    accepts: Accepts,
    tile: int,
    network: nn.Module,
    known: Statistics | None = None,
) -> Iterator[Piece]:
    """Translate an image of `size` (height, width; both as in `accepts`) in tiles of `tile` pixels a side, from top to bottom.

    The pieces cover the image once. `network` holds the norms that `translate` uses, in eval mode. A tile is a multiple of
    the stride, at least one. Exact where `accepts.halo` says how far an input reaches; else the margins of the tiles fade into
    each other, and only the statistics are those of the whole image. What is `known` of these is used, and the rest added.
    """
    tiles = grid(size, _on_grid(tile, accepts.stride), _margin(tile, accepts))
    outputs = _translated(translate, tiles, network, known)
    if accepts.halo is None:
        return _blended(outputs)
    return ((tile.rows.kept, tile.columns.kept, tile.cropped(y)) for tile, y in outputs)


def bytes_per_pixel(translate: Translate, side: int, network: nn.Module) -> float:
    """About the memory that translating takes for each pixel of a crop, as a crop of `side` pixels a side tells.

    Three times what the hungriest layer takes and gives: 1.6 to 2.9 times were measured on the CPU with the generators here.
    """
    most = 0

    def look(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal most
        most = max(most, sum(value.nbytes for value in (*inputs, output) if isinstance(value, Tensor)))

    hooks = [layer.register_forward_hook(look) for layer in network.modules()]
    try:
        translate(slice(0, side), slice(0, side))
    finally:
        for hook in hooks:
            hook.remove()
    return 3 * most / side**2


def largest_tile(memory: float, bytes_each: float, accepts: Accepts) -> int:
    """The largest tile that takes no more memory with its margins, at so many bytes a pixel; at least one stride."""
    side = int(math.sqrt(memory / bytes_each))
    tiles = range(side // accepts.stride * accepts.stride, 0, -accepts.stride)
    return next((tile for tile in tiles if tile + 2 * _margin(tile, accepts) <= side), accepts.stride)


def grid(size: tuple[int, int], tile: int, margin: int) -> list[Tile]:
    """Tiles of `tile` pixels a side that cover an image once; each sees a margin more, as far as there is image."""
    rows, columns = ([
        Span(slice(max(0, start - margin), min(length, start + tile + margin)), slice(start, min(length, start + tile)))
        for start in range(0, length, tile)
    ] for length in size)  # fmt: skip
    return [Tile(row, column) for row in rows for column in columns]


def _margin(tile: int, accepts: Accepts) -> int:
    """How much more than its own pixels a tile sees on each side."""
    return _on_grid(tile // 4 if accepts.halo is None else accepts.halo, accepts.stride)


def _on_grid(pixels: int, stride: int) -> int:
    """The next multiple of the stride, so that each layer's maps of a crop are crops of its maps of the image."""
    return max(1, -(-pixels // stride)) * stride


# The statistics of the whole image


class _Unknown(Exception):
    """The network has come to a norm whose statistics are not known. Raised, since nothing behind it can be computed yet."""

    def __init__(self, norm: nn.Module, moments: Moments):
        self.norm, self.moments = norm, moments


def _translated(
    translate: Translate, tiles: list[Tile], network: nn.Module, known: Statistics | None
) -> Iterator[tuple[Tile, Tensor]]:
    """What `translate` makes of all that each tile sees, with the statistics of the whole image, or those that are known."""
    if len(tiles) == 1 and known is None:
        yield tiles[0], translate(tiles[0].rows.seen, tiles[0].columns.seen)
        return
    known = {} if known is None else known
    while True:
        found: Statistics = {}
        for tile in tiles:
            try:
                with norms.given(network, known, partial(_measured, tile)):
                    output = translate(tile.rows.seen, tile.columns.seen)
            except _Unknown as unknown:  # not kept: it holds on to all maps that were computed
                norm, moments = unknown.norm, unknown.moments
                found[norm] = norms.joined(found[norm], moments) if norm in found else moments
            else:
                yield tile, output
        if not found:
            return
        known.update(found)


def _measured(tile: Tile, norm: nn.Module, x: Tensor) -> Tensor:
    """The kept part of the tile counts."""
    raise _Unknown(norm, norms.moments(norm, tile.cropped(x)))


# Blending, where tiles cannot be exact


def _blended(outputs: Iterable[tuple[Tile, Tensor]]) -> Iterator[Piece]:
    """The tiles of a row fade into each other and become a strip, and so do the strips; no more than two are in memory."""
    strips = (
        (rows.seen.start, torch.cat([part for _, part in _faded(((tile.columns.seen.start, y) for tile, y in row), -1)], -1))
        for rows, row in groupby(outputs, lambda output: output[0].rows)
    )
    for top, strip in _faded(strips, -2):
        height, width = strip.shape[-2:]
        yield slice(top, top + height), slice(0, width), strip


def _faded(parts: Iterable[tuple[int, Tensor]], side: int) -> Iterator[tuple[int, Tensor]]:
    """Overlapping parts, each with its place along a side -> parts in a row, with a smooth passage where two overlapped."""
    remaining = iter(parts)
    place, last = next(remaining)
    for start, part in remaining:
        done, old = last.split([start - place, last.shape[side] - (start - place)], side)
        yield place, done
        new, rest = part.split([old.shape[side], part.shape[side] - old.shape[side]], side)
        place, last = start, torch.cat([_faded_over(old, new, side), rest], side)
    yield place, last


def _faded_over(old: Tensor, new: Tensor, side: int) -> Tensor:
    """From one to the other: the share of `new` is 3 t^2 - 2 t^3, which begins and ends flat."""
    n = old.shape[side]
    t = (torch.arange(n, device=old.device, dtype=old.dtype) + 0.5) / n
    share = (t * t * (3 - 2 * t)).view(-1, *[1] * (-1 - side))
    return old + share * (new - old)
