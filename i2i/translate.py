"""Images in, method.translate, images out: any size, depth and number, decoded ahead and encoded behind the network."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2i import images, models, naming
from i2i.conversion import Padded, as_picture, finish, prepare
from i2i.domain import Domain
from i2i.encoders import FORMATS
from i2i.errors import OutOfResources, UserError
from i2i.images import ImageError, Picture
from i2i.method import Accepts
from i2i.naming import Existing, FormatName, Job
from i2i.training.precision import Precision, PrecisionName, choose_device, choose_precision

Direction = Literal["AtoB", "BtoA"]
AnySource = str | Path | Image.Image | np.ndarray | Picture
THREADS = 4  # that decode, and as many that encode
DOUBLE = "translated whole, though the model was trained on halves of side-by-side images and it is twice as wide as high"
PIXELS = 8 * 512 * 512
"""The most pixels in one batch, unless a batch size is given: beyond that nothing gets faster, only memory is used."""


@dataclass(frozen=True)
class Record:
    """What became of one input; the fields are those of the JSON log. `ms` is the time spent on it alone."""

    input: Path
    output: Path
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    width: int | None = None
    height: int | None = None
    ms: float | None = None
    notes: tuple[str, ...] = ()

    def tree(self) -> dict[str, Any]:
        return {**asdict(self), "input": str(self.input), "output": str(self.output)}


@dataclass(frozen=True)
class Way:
    """One direction through a model: x goes in, y comes out. `from_halves`: it was trained on halves of double images."""

    x: Domain
    y: Domain
    accepts: Accepts
    reverse: bool
    from_halves: bool


@dataclass
class _Item:
    """One job on its way: what was read, then what came out, or why it failed."""

    job: Job
    padded: Padded | None = None
    result: Picture | None = None
    error: ImageError | None = None
    seconds: float = field(default=0.0)


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

    def way(self, direction: Direction | None = None) -> Way:
        """The direction that the model was trained in, or the other one where the method has learned that too."""
        model, trained = self.model, self.model.config.data.direction
        halves = model.config.data.layout == "side-by-side"
        if direction in (None, trained):
            return Way(model.x, model.y, model.method.accepts(), False, halves)
        if not model.method.reversible:
            raise UserError(
                f"'{model.name}' translates {trained} only, as every {model.config.method} model goes one way",
                f"train one for the other way: --set data.direction={direction}",
            )
        return Way(model.y, model.x, model.method.accepts(), True, halves)

    def translate(self, source: AnySource, *, direction: Direction | None = None) -> Picture:
        """Translate one image: a file, Pillow's, an array of (H, W) or (H, W, C) uint8, uint16 or float32, or a Picture.

        The result has the size of the source and the deeper type of the source's and the model's. Raises ImageError.
        """
        way = self.way(direction)
        picture = images.read(Path(source)) if isinstance(source, (str, Path)) else as_picture(source, way.x)
        padded = prepare(picture, way.x, way.y, way.accepts)
        return finish(padded, self._outputs([padded], way)[0], way.y)

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
    ) -> Iterator[Record]:
        """Translate files, folders (with all below them) and patterns into `out`, and tell of each as it is done.

        Raises UserError at once for what `plan` refuses. An image that cannot be read becomes a record that says so.
        """
        inputs = [inputs] if isinstance(inputs, (str, Path)) else inputs
        jobs = self.plan(inputs, out, direction=direction, format=format, existing=existing)
        return self.translate_files(jobs, direction=direction, quality=quality, batch=batch)

    def plan(
        self,
        inputs: Sequence[str | Path],
        out: str | Path,
        *,
        direction: Direction | None = None,
        format: FormatName | None = None,
        existing: Existing = "refuse",
    ) -> list[Job]:
        """What `translate_folder` would do. Nothing is written."""
        return naming.plan(inputs, Path(out), self.way(direction).y, format, existing)

    def translate_files(
        self,
        jobs: Sequence[Job],
        *,
        direction: Direction | None = None,
        quality: int | None = None,
        batch: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Record]:
        """Do the jobs, in their order. Once `stopped` says so, what is computed is still written, and nothing else begun."""
        way = self.way(direction)
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
        writing: deque[Future[Record]] = deque()
        with ThreadPoolExecutor(THREADS) as readers, ThreadPoolExecutor(THREADS) as writers:
            for items in self._batches(_in_order(readers, lambda job: _read(job, way), jobs, 2 * most), most, pixels):
                if stopped():
                    break
                self._compute(items, way)
                writing.extend(writers.submit(_write, item, quality) for item in items)
                while writing and (writing[0].done() or len(writing) > 2 * most):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()

    def _batches(self, items: Iterable[_Item], most: int, pixels: float) -> Iterator[list[_Item]]:
        """Neighbours, at most `most`, those with something to compute all of one kind and of so many pixels in all."""
        batch: list[_Item] = []
        for item in items:
            real = [other.padded for other in batch if other.padded]
            if real and item.padded:
                area = math.prod(item.padded.values.shape[:2])
                if real[0].kind != item.padded.kind or (len(real) + 1) * area > min(pixels, self._pixels):
                    yield batch
                    batch = []
            batch.append(item)
            if len(batch) == most:
                yield batch
                batch = []
        if batch:
            yield batch

    def _compute(self, items: list[_Item], way: Way) -> None:
        """Give each item that was read its result."""
        real = [(item, item.padded) for item in items if item.padded]
        if not real:
            return
        start = time.perf_counter()
        outputs = self._outputs([padded for _, padded in real], way)
        for (item, padded), output in zip(real, outputs, strict=True):
            try:
                with _naming(item.job):
                    item.result = finish(padded, output, way.y)
            except ImageError as error:
                item.error = error
            item.padded = None
        for item, _ in real:
            item.seconds += (time.perf_counter() - start) / len(real)

    def _outputs(self, batch: list[Padded], way: Way) -> list[Tensor]:
        """(C, H, W) in [-1, 1] for each padded picture, all of one kind. Where memory runs out, halves are tried."""
        try:
            return list(self._forward(batch, way))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
        # outside of `except`, where the error no longer keeps the tensors of the failed attempt alive
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        height, width, _ = batch[0].values.shape
        if len(batch) == 1:
            raise OutOfResources(
                f"one image of {width}x{height} pixels does not fit in memory ({reason})",
                "--device cpu, or another program that holds the memory, may be the way out; finished images are kept",
            )
        half = len(batch) // 2
        self._pixels = half * height * width
        return self._outputs(batch[:half], way) + self._outputs(batch[half:], way)

    def _forward(self, batch: list[Padded], way: Way) -> Tensor:
        values = torch.from_numpy(np.stack([padded.values for padded in batch])).to(self.device)
        x = batch[0].scale.to_float(values).permute(0, 3, 1, 2).contiguous()
        precision = self.precision if batch[0].dtype == "uint8" else self._deep
        with torch.inference_mode(), precision.autocast():
            return self.model.method.translate(x, reverse=way.reverse).float()


def _read(job: Job, way: Way) -> _Item:
    """The start of every item. Nothing is read of one that is skipped."""
    item, start = _Item(job), time.perf_counter()
    try:
        if not job.skip:
            picture = images.read(job.input)
            if way.from_halves and picture.width == 2 * picture.height:
                picture = replace(picture, notes=(*picture.notes, DOUBLE))
            with _naming(job):
                item.padded = prepare(picture, way.x, way.y, way.accepts, FORMATS[job.output.suffix.lower()])
    except ImageError as error:
        item.error = error
    item.seconds = time.perf_counter() - start
    return item


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Let errors inside name the file."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot translate {str(job.input)!r}: {error.message}", error.hint) from error


def _write(item: _Item, quality: int | None) -> Record:
    """The end of every item: its file, where it has a result, and its record."""
    record, start = Record(item.job.input, item.job.output, "skipped"), time.perf_counter()
    if item.result:
        try:
            images.write(item.job.output, item.result, quality=quality)
        except ImageError as error:
            item.error = error
    ms = round(1000 * (item.seconds + time.perf_counter() - start), 1)
    if item.error:
        return replace(record, status="failed", error=item.error.message, hint=item.error.hint, ms=ms)
    if item.result is None:
        return record
    notes = (*item.job.notes, *item.result.notes)
    return replace(record, status="done", ms=ms, notes=notes, width=item.result.width, height=item.result.height)


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
