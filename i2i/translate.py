"""Images in, method.translate, images out: any size, depth and number, decoded ahead and encoded behind the network."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from i2i import models, naming
from i2i.conversion import as_picture, finish
from i2i.errors import OutOfResources, UserError
from i2i.images import ImageError, Picture
from i2i.items import THINGS, AnySource, Given, Item, Record, Way, naming_file, opened, read, ready, write
from i2i.method import Style
from i2i.naming import Existing, FormatName, Job
from i2i.styles import TYPICAL, Styles, drawn
from i2i.training.precision import Precision, PrecisionName, choose_device, choose_precision

Direction = Literal["AtoB", "BtoA"]
THREADS = 4  # that decode, and as many that encode
PIXELS = 8 * 512 * 512
"""The most pixels in one batch, unless a batch size is given: beyond that nothing gets faster, only memory is used."""


class Translator:
    """A trained model that translates single images, files and folders."""

    def __init__(self, model: models.Model, device: torch.device, precision: PrecisionName = "auto"):
        self.model, self.device = model, device
        self.precision = choose_precision(precision, device)
        # bfloat16 has 8 bits: right for 8-bit results only
        self._deep = Precision("fp32", device) if precision == "auto" else self.precision
        self._pixels = math.inf  # the most in one batch, once memory ran out

    @classmethod
    def open(cls, path: str | Path, device: str = "auto", precision: PrecisionName = "auto") -> "Translator":
        """Open a run, a checkpoint folder or a `.safetensors` file."""
        chosen = choose_device(device)
        return cls(models.open_model(Path(path), chosen), chosen, precision)

    def way(self, direction: Direction | None = None, styles: Styles = TYPICAL) -> Way:
        """The direction that the model was trained in, or the other one where the method has learned that too."""
        model, trained = self.model, self.model.config.data.direction
        reverse = direction not in (None, trained)
        if reverse and not model.method.reversible:
            raise UserError(
                f"'{model.name}' translates {trained} only, as every {model.config.method} model goes one way",
                f"train one for the other way: --set data.direction={direction}",
            )
        x, y = (model.y, model.x) if reverse else (model.x, model.y)
        halves, instances = model.config.data.layout == "side-by-side", x.instances and "instances" in model.method.reads
        return Way(x, y, model.method.accepts(), reverse, halves, instances, styles)

    def translate(
        self,
        source: AnySource,
        *,
        direction: Direction | None = None,
        style: Style | None = None,
        instances: AnySource | None = None,
    ) -> Picture:
        """Translate one image: a file, Pillow's, an array of (H, W) or (H, W, C) uint8, uint16 or float32, or a Picture.

        A label map is given in the same ways, and `instances` with it where the model needs them. A `style` is one of
        `draw_styles` or `encode_style`. The result has the size of the source and the deeper type of the source's and the
        model's. Raises ImageError.
        """
        way = self.way(direction)
        _refuse_instances(way, instances)
        given = ready(opened(source, way.x), opened(instances, THINGS), way, [style])
        return finish(given.padded, self._outputs([given], way)[0][0], way.y)

    def draw_styles(self, count: int, seed: int = 0) -> list[Style]:
        """`count` styles for `translate`, the same for the same seed. Raises UserError where the model has none."""
        return self.model.method.draw_styles(count, seed)

    def encode_style(self, source: AnySource) -> Style:
        """The style of an image of the output side, of any size. Raises UserError where the model cannot tell it."""
        y = self.model.y
        values = y.conform(as_picture(opened(source, y), y))
        with torch.inference_mode(), self._deep.autocast():
            return self.model.method.encode_style(y.to_float(self._moved([values])))

    def styles(
        self,
        *,
        samples: int | None = None,
        seed: int | None = None,
        same_style: bool = False,
        style_from: AnySource | None = None,
        interpolate: int | None = None,
    ) -> Styles:
        """What is made of each input: see `translate_folder`. Raises UserError for what the model does not have."""
        drawing = samples is not None or seed is not None or interpolate is not None
        if style_from is None:
            if not drawing:
                return TYPICAL
            return drawn(self.model.method, samples, seed or 0, same=same_style, frames=interpolate)
        if drawing:
            raise UserError(
                "--style-from gives every output one style, but --samples, --seed and --interpolate ask for others",
                "leave either out",
            )
        style = [self.encode_style(style_from)]
        return Styles(lambda name: style)

    def translate_folder(
        self,
        inputs: str | Path | Sequence[str | Path],
        out: str | Path,
        *,
        direction: Direction | None = None,
        format: FormatName | None = None,
        quality: int | None = None,
        batch: int | None = None,
        existing: Existing = "refuse",
        instances: str | Path | None = None,
        **styles: Any,
    ) -> Iterator[Record]:
        """Translate files, folders (with all below them) and patterns into `out`, and tell of each output as it is done.

        `styles` are the keywords of the method `styles`: `samples=3` numbered outputs of each, drawn with `seed=0`, with
        `same_style=True` the same for all; `style_from=` an image; or `interpolate=8` frames from one of the samples to the
        next, as a strip, a GIF or an MP4. Raises UserError at once for what `plan` and `styles` refuse. An image that cannot be
        read becomes a record that says so.
        """
        inputs, wanted = [inputs] if isinstance(inputs, (str, Path)) else inputs, self.styles(**styles)
        how: dict[str, Any] = {"direction": direction, "styles": wanted}
        jobs = self.plan(inputs, out, format=format, existing=existing, instances=instances, **how)
        return self.translate_files(jobs, quality=quality, batch=batch, **how)

    def plan(
        self,
        inputs: Sequence[str | Path],
        out: str | Path,
        *,
        direction: Direction | None = None,
        format: FormatName | None = None,
        existing: Existing = "refuse",
        styles: Styles = TYPICAL,
        instances: str | Path | None = None,
    ) -> list[Job]:
        """What `translate_folder` would do. Nothing is written."""
        way = self.way(direction)
        _refuse_instances(way, instances)
        return naming.plan(
            inputs,
            Path(out),
            way.y,
            format,
            existing,
            count=styles.count,
            movie=styles.movie,
            annotations=self.model.method.keeps_annotations,
            instances=Path(instances) if instances else None,
        )

    def translate_files(
        self,
        jobs: Sequence[Job],
        *,
        direction: Direction | None = None,
        styles: Styles = TYPICAL,
        quality: int | None = None,
        batch: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Record]:
        """Do the jobs, in their order. Once `stopped` says so, what is computed is still written, and nothing else begun."""
        way = self.way(direction, styles)
        naming.make_folders(jobs)
        most, pixels = (self.usual_batch(way), PIXELS) if batch is None else (batch, math.inf)
        return self._records(jobs, way, quality, most=most, pixels=pixels, stopped=stopped)

    def usual_batch(self, way: Way) -> int:
        """8 on a GPU. On a CPU a network that works at full size keeps all cores busy with one image, but one that shrinks
        the image until each pixel sees the whole (no halo) has layers too small for that."""
        if self.device.type != "cpu":
            return 8
        return 4 if way.accepts.halo is None else 1

    def _records(
        self, jobs: Iterable[Job], way: Way, quality: int | None, *, most: int, pixels: float, stopped: Callable[[], bool]
    ) -> Iterator[Record]:
        """Decode ahead in threads, compute here, encode behind in threads; at most a few batches are in memory."""
        writing: deque[Future[list[Record]]] = deque()
        with ThreadPoolExecutor(THREADS) as readers, ThreadPoolExecutor(THREADS) as writers:
            for items in self._batches(_in_order(readers, lambda job: read(job, way), jobs, 2 * most), most, pixels):
                if stopped():
                    break
                self._compute(items, way)
                writing.extend(writers.submit(write, item, quality) for item in items)
                while writing and (writing[0].done() or len(writing) > 2 * most):
                    yield from writing.popleft().result()
            while writing:
                yield from writing.popleft().result()

    def _batches(self, items: Iterable[Item], most: int, pixels: float) -> Iterator[list[Item]]:
        """Neighbours, at most `most`, those with something to compute all of one kind and of so many pixels in all."""
        batch: list[Item] = []
        for item in items:
            real = [other.given for other in batch if other.given]
            if real and item.given:
                full = (len(real) + 1) * item.given.pixels > min(pixels, self._pixels)
                if full or not real[0].fits(item.given):
                    yield batch
                    batch = []
            batch.append(item)
            if len(batch) == most:
                yield batch
                batch = []
        if batch:
            yield batch

    def _compute(self, items: list[Item], way: Way) -> None:
        """Give each item that was read its results."""
        real = [(item, item.given) for item in items if item.given]
        if not real:
            return
        start = time.perf_counter()
        outputs = self._outputs([given for _, given in real], way)
        for (item, given), each in zip(real, outputs, strict=True):
            try:
                with naming_file(item.job):
                    frames = [finish(given.padded, output, way.y) for output in each]
                item.results = [frames] if way.styles.movie else [[frame] for frame in frames]
            except ImageError as error:
                item.error = error
            item.given = None
        for item, _ in real:
            item.seconds += (time.perf_counter() - start) / len(real)

    def _outputs(self, batch: list[Given], way: Way) -> list[Sequence[Tensor]]:
        """For each of what can share a batch its outputs, (C, H, W) in [-1, 1]. Where memory runs out, halves are tried."""
        try:
            return self._forward(batch, way)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
        # outside of `except`, where the error no longer keeps the tensors of the failed attempt alive
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        height, width, _ = batch[0].padded.values.shape
        if len(batch) == 1:
            raise OutOfResources(
                f"one image of {width}x{height} pixels does not fit in memory ({reason})",
                "--device cpu, or another program that holds the memory, may be the way out; finished images are kept",
            )
        half = len(batch) // 2
        self._pixels = half * batch[0].pixels
        return self._outputs(batch[:half], way) + self._outputs(batch[half:], way)

    def _forward(self, batch: list[Given], way: Way) -> list[Sequence[Tensor]]:
        first = batch[0]
        x = first.padded.scale.to_float(self._moved([given.padded.values for given in batch])).contiguous()
        ids = [given.instances for given in batch if given.instances is not None]
        precision = self.precision if first.padded.dtype == "uint8" else self._deep
        with torch.inference_mode(), precision.autocast():
            instances = self._moved(ids) if ids else None
            samples = self.model.method.samples(x, first.styles, reverse=way.reverse, instances=instances)
            return list(zip(*[sample.float() for sample in samples], strict=True))

    def _moved(self, arrays: Sequence[np.ndarray]) -> Tensor:
        """arrays: (H, W, C), all of one shape -> (B, C, H, W) on the device."""
        return torch.from_numpy(np.stack(arrays)).to(self.device).permute(0, 3, 1, 2)


def _refuse_instances(way: Way, instances: object) -> None:
    if way.instances and instances is None:
        raise UserError(
            "the model sees the single things in a label map, and no instance maps are given",
            "--instances names the folder that holds them, under the names of the label maps",
        )
    if instances is not None and not way.instances:
        raise UserError("instance maps are given, but the model does not take any", "leave --instances out")


def _in_order(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """What `function` makes of the items, in their order, computed by threads that are at most `ahead` items ahead."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _out_of_memory(error: Exception) -> bool:
    """torch's allocator for the CPU raises a plain RuntimeError."""
    plain = "not enough memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or plain
