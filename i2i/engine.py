"""The network on what was read: in batches, in halves of them where memory runs out, and huge images in tiles."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from i2i import noise, norms
from i2i.conversion import finish
from i2i.errors import OutOfResources, UserError
from i2i.images import Picture
from i2i.items import Given, Way
from i2i.memory import free_memory
from i2i.method import Method, Style
from i2i.norms import Statistics
from i2i.tiles import bytes_per_pixel, largest_tile, tiled
from i2i.training.memory import is_about_memory
from i2i.training.precision import Precision, PrecisionName, choose_precision

Tile = int | Literal["auto", "off"]
Result = Tensor | np.ndarray
"""(C, H, W) in [-1, 1] for all that was padded; or, made in tiles, the values (H, W, C) of the picture itself."""

LARGE = 2_000_000  # pixels: below, nobody needs to ask how much memory there is
LEAST = 128  # pixels a side: smaller tiles would be nearly all margin


class HasGiven(Protocol):
    """What waits for the network; with None for nothing to compute."""

    @property
    def given(self) -> Given | None: ...


AnyItem = TypeVar("AnyItem", bound=HasGiven)


@dataclass(frozen=True)
class Computed:
    """What became of one image, an output for each of its styles, and a word about how."""

    outputs: Sequence[Result]
    note: str | None = None

    def pictures(self, given: Given, way: Way) -> list[Picture]:
        """The outputs of what was given as pictures. Raises ImageError where values are not finite."""
        padded = given.padded
        if self.note:
            padded = replace(padded, notes=(*padded.notes, self.note))
        new = [finish(padded, output, way.y) for output in self.outputs]
        return [given.paste.over(picture) for picture in new] if given.paste else new


class Engine:
    """A method on a device. `tile` is the side of the tiles for images larger than that: of "auto" memory decides."""

    def __init__(self, method: Method, device: torch.device, precision: PrecisionName = "auto", tile: Tile = "auto"):
        # on a CPU convolutions are faster in it, and on a GPU torch's norms leave it (tests/benchmarks/translate.py)
        self.layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        self.method, self.device, self.tile = method.to(memory_format=self.layout), device, tile
        self.precision = choose_precision(precision, device)
        # bfloat16 has 8 bits: right for 8-bit results only
        self._deep = Precision("fp32", device) if precision == "auto" else self.precision
        self.pixels = math.inf  # the most in one batch, once memory ran out

    def usual_batch(self, way: Way) -> int:
        """8 on a GPU. On a CPU a network that works near full size keeps all cores busy with one image, but one that halves
        the image again and again has layers too small for that."""
        if self.device.type != "cpu":
            return 8
        return 4 if way.accepts.stride > 16 else 1

    def batches(self, items: Iterable[AnyItem], most: int, pixels: float) -> Iterator[list[AnyItem]]:
        """Neighbours, at most `most`, those with something to compute all of one kind and of so many pixels in all."""
        batch: list[AnyItem] = []
        try:
            for item in items:
                real = [other.given for other in batch if other.given]
                if real and item.given:
                    full = (len(real) + 1) * item.given.pixels > min(pixels, self.pixels)
                    if full or not real[0].fits(item.given):
                        yield batch
                        batch = []
                batch.append(item)
                if len(batch) == most:
                    yield batch
                    batch = []
        except UserError:
            if batch:
                yield batch  # what came before the one that fails is whole
            raise
        if batch:
            yield batch

    def outputs(self, batch: list[Given], way: Way) -> list[Computed]:
        """What becomes of images that can share a batch. Where memory runs out, halves are tried, and tiles at last."""
        side = self._side(batch[0], way)
        if side:
            return [self._in_tiles(given, way, side) for given in batch]
        try:
            return self._whole(batch, way)
        except (RuntimeError, MemoryError) as error:
            reason = _reason(error)
        # outside of `except`, where the error no longer keeps the tensors of the failed attempt alive
        self._clear()
        if len(batch) == 1:
            return [self._in_smaller_tiles(batch[0], way, reason)]
        half = len(batch) // 2
        self.pixels = half * batch[0].pixels
        return self.outputs(batch[:half], way) + self.outputs(batch[half:], way)

    def _whole(self, batch: list[Given], way: Way) -> list[Computed]:
        x = self._floats([given.padded.values for given in batch], batch[0])
        ids = [given.instances for given in batch if given.instances is not None]
        with torch.inference_mode(), self._fitting(batch[0]).autocast():
            instances = self.moved(ids) if ids else None
            samples = self._samples(x, batch, way, instances)
            return [Computed(each) for each in zip(*[sample.float() for sample in samples], strict=True)]

    def _samples(self, x: Tensor, batch: list[Given], way: Way, instances: Tensor | None) -> list[Tensor]:
        """In one pass where the method has one; one after the other where each has noise or statistics of its own."""
        styles, rows, columns = batch[0].styles, slice(0, x.shape[2]), slice(0, x.shape[3])
        if batch[0].noise is None and way.statistics is None:
            return self.method.samples(x, styles, reverse=way.reverse, instances=instances)
        samples = []
        for number, style in enumerate(styles):
            known = norms.kept(self.method, way.statistics[number]) if way.statistics else nullcontext()
            with known, noise.drawn(self.method, _seeds(batch, number), rows, columns):
                samples.append(self.method.translate(x, reverse=way.reverse, instances=instances, style=style))
        return samples

    def statistics(self, given: Given, way: Way) -> list[Statistics]:
        """What the norms ask about this image, in each of its styles: as the `statistics` of a way it holds for others."""
        found: list[Statistics] = [{} for _ in given.styles]
        self.outputs([given], replace(way, statistics=found))
        return found

    # Tiles

    def _side(self, given: Given, way: Way) -> int | None:
        """The side of the tiles for an image that is known to be too large for one piece."""
        height, width = given.padded.values.shape[:2]
        if isinstance(self.tile, int):
            return self.tile if max(height, width) > self.tile and _divisible(given) else None
        if self.tile == "off" or height * width < LARGE or not _divisible(given):
            return None
        each, memory = self._bytes_per_pixel(given, way), self._memory() / 2
        return largest_tile(memory, each, way.accepts) if height * width * each > memory else None

    def _in_smaller_tiles(self, given: Given, way: Way, reason: str) -> Computed:
        """Half of the image, and half of that, until it fits."""
        height, width = given.padded.values.shape[:2]
        side = max(height, width) // 2
        while self.tile != "off" and side >= max(LEAST, way.accepts.stride) and _divisible(given):
            try:
                computed = self._in_tiles(given, way, side)
                return replace(computed, note=f"{computed.note}, since it did not fit in memory in one piece")
            except (RuntimeError, MemoryError) as error:
                reason = _reason(error)
            self._clear()
            side //= 2
        raise OutOfResources(
            f"one image of {width}x{height} pixels does not fit in memory ({reason})",
            "--tile auto, --device cpu, or closing what else holds the memory may be the way out; finished images are kept",
        )

    def _in_tiles(self, given: Given, way: Way, side: int) -> Computed:
        how = "" if way.accepts.halo is not None else ", which are blended: this network sees the whole image in every pixel"
        outputs = [self._tiled(given, way, number, side) for number in range(len(given.styles))]
        return Computed(outputs, f"translated in tiles of {side} pixels{how}")

    def _tiled(self, given: Given, way: Way, number: int, side: int) -> Result:
        """The values (H, W, C) of the picture in the style of that number; or a piece that is not finite.

        As a whole it never exists in floats.
        """
        padded = given.padded
        height, width = padded.values.shape[:2]
        rows, columns = padded.rows, padded.columns
        values = np.empty((rows.stop - rows.start, columns.stop - columns.start, way.y.channels), padded.dtype)

        def translate(rows: slice, columns: slice) -> Tensor:
            return self._crop(given, way, number, rows, columns)

        known = way.statistics[number] if way.statistics else None
        for piece_rows, piece_columns, piece in tiled(translate, (height, width), way.accepts, side, self.method, known):
            if not piece.isfinite().all():
                return piece[0]
            (to_rows, own_rows), (to_columns, own_columns) = _overlap(piece_rows, rows), _overlap(piece_columns, columns)
            values[to_rows, to_columns] = way.y.to_array(piece[0], padded.dtype)[own_rows, own_columns]
        return values

    def _crop(self, given: Given, way: Way, number: int, rows: slice, columns: slice) -> Tensor:
        """What the network makes of a part of the image as if it were all, (1, C, h, w), in the style of that number."""
        x = self._floats([given.padded.values[rows, columns]], given)
        with (
            torch.inference_mode(),
            self._fitting(given).autocast(),
            noise.drawn(self.method, _seeds([given], number), rows, columns),
        ):
            instances = None if given.instances is None else self.moved([given.instances[rows, columns]])
            style = given.styles[number]
            return self.method.translate(x, reverse=way.reverse, instances=instances, style=style).float()

    def _bytes_per_pixel(self, given: Given, way: Way) -> float:
        stride, smallest = way.accepts.stride, max(64, way.accepts.smallest)
        side = min(-(-smallest // stride) * stride, *given.padded.values.shape[:2])
        return bytes_per_pixel(lambda *place: self._crop(given, way, 0, *place), side, self.method)

    def style_of(self, y: Tensor) -> Style:
        """y: (1, C, H, W) -> its style."""
        with torch.inference_mode(), self._deep.autocast():
            return self.method.encode_style(y)

    # The machine

    def _floats(self, arrays: Sequence[np.ndarray], given: Given) -> Tensor:
        """The same as `moved`, as the network takes values like those that were given."""
        return given.padded.scale.to_float(self.moved(arrays)).contiguous(memory_format=self.layout)

    def moved(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """arrays: (H, W, C), all of one shape -> (B, C, H, W) on the device."""
        return torch.from_numpy(np.stack(arrays)).to(self.device).permute(0, 3, 1, 2)

    def _fitting(self, given: Given) -> Precision:
        return self.precision if given.padded.dtype == "uint8" else self._deep

    def _memory(self) -> int:
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else free_memory()

    def _clear(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _seeds(batch: list[Given], number: int) -> list[int] | None:
    """Of the dropout noise of each image, in the style of that number."""
    return None if batch[0].noise is None else [given.noise[number] for given in batch if given.noise]


def _divisible(given: Given) -> bool:
    """A style that is a map belongs to the image as a whole."""
    return all(style is None or style.ndim <= 2 for style in given.styles)


def _overlap(piece: slice, picture: slice) -> tuple[slice, slice]:
    """Where a piece of what was padded lies in the picture, and which of the piece that is."""
    start = max(piece.start, picture.start)
    stop = max(start, min(piece.stop, picture.stop))
    return slice(start - picture.start, stop - picture.start), slice(start - piece.start, stop - piece.start)


def _reason(error: Exception) -> str:
    """What an error of memory says; any other is raised again."""
    if not is_about_memory(error):
        raise error
    return str(error).splitlines()[0] if str(error) else "no reason given"
