"""Images in, method.translate, images out: any size, depth and number, decoded ahead and encoded behind the network."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args, overload

import torch

from i2i import footage, images, inputs, models, naming
from i2i.config import DataSettings
from i2i.conversion import Alpha
from i2i.encoders import FORMATS, TIFF, USUAL, Format, Packing
from i2i.engine import Engine, Tile
from i2i.errors import UserError
from i2i.footage import Pace, Told
from i2i.images import MAX_PIXELS, ImageError, Picture
from i2i.items import (
    PLAIN,
    THINGS,
    AnySource,
    Given,
    Item,
    Reading,
    Record,
    Way,
    naming_file,
    opened,
    read,
    ready,
    scaled,
    shown,
    write,
)
from i2i.logbook import NOTHING, Logbook
from i2i.masks import ALPHA, FEATHER, Masking, Paste, require_alike
from i2i.method import Style
from i2i.naming import AS_INPUTS, Existing, FormatName, Job, Template
from i2i.networks.layers import NormStats, image_norms, with_running_statistics
from i2i.noise import require as require_noise
from i2i.styles import TYPICAL, Styles, drawn, everybodys, noisy
from i2i.training.precision import PrecisionName, choose_device

Direction = Literal["AtoB", "BtoA"]
WORKERS = 4  # threads that decode, and as many that encode
PIXELS = 8 * 512 * 512
"""The most pixels in one batch, unless a batch size is given: beyond that nothing gets faster, only memory is used."""


class Translator:
    """A trained model that translates single images, files and folders."""

    def __init__(
        self,
        model: models.Model,
        device: torch.device,
        precision: PrecisionName = "auto",
        tile: Tile = "auto",
        norm_stats: NormStats = "image",
    ):
        self.model, self.engine = model, Engine(model.method, device, precision, tile)
        if norm_stats == "running":
            with_running_statistics(torch.nn.ModuleList(model.method.generators().values()))

    @classmethod
    def open(
        cls,
        path: str | Path,
        device: str = "auto",
        precision: PrecisionName = "auto",
        tile: Tile = "auto",
        norm_stats: NormStats = "image",
    ) -> "Translator":
        """Open a run, a checkpoint folder, a `.safetensors` file, or a `.pth` file of the originals.

        `tile`: the side of the tiles that larger images are done in; "auto": where memory asks for them; "off": never.
        `norm_stats`: what a batch norm uses, the statistics of each image, as published, or the "running" ones of the training.
        """
        chosen = choose_device(device)
        return cls(models.open_model(Path(path), chosen), chosen, precision, tile, norm_stats)

    def way(self, direction: Direction | None = None, styles: Styles = TYPICAL, reading: Reading = PLAIN) -> Way:
        """The direction that the model was trained in, or the other one where the method has learned that too."""
        model, trained = self.model, self.model.config.data.direction
        reverse = direction not in (None, trained)
        if reverse and not model.method.reversible:
            raise UserError(
                f"'{model.name}' translates {trained} only, as every {model.config.method} model goes one way",
                f"train one for the other way: --direction {direction}",
            )
        x, y = (model.y, model.x) if reverse else (model.x, model.y)
        if reading.masking:
            require_alike(x, y)
        halves, instances = model.config.data.layout == "side-by-side", x.instances and "instances" in model.method.reads
        scale = None if model.said else trained_scale(model.config.data)  # nobody knows how another program has trained
        return Way(x, y, model.method.accepts(), reverse, halves, instances, styles, reading, scale=scale)

    @overload
    def translate(  # type: ignore[overload-overlap]  # names, bytes and arrays are iterable too, and are images all the same
        self,
        source: AnySource,
        *,
        direction: Direction | None = None,
        style: Style | None = None,
        instances: AnySource | None = None,
        mask: AnySource | None = None,
        feather: int = FEATHER,
        noise: int | None = None,
        reading: Reading = PLAIN,
    ) -> Picture: ...

    @overload
    def translate(
        self,
        source: Iterable[AnySource],
        *,
        direction: Direction | None = None,
        style: Style | None = None,
        mask: AnySource | None = None,
        feather: int = FEATHER,
        noise: int | None = None,
        reading: Reading = PLAIN,
        batch: int | None = None,
        freeze_norm: bool = False,
    ) -> Iterator[Picture]: ...

    def translate(
        self,
        source: AnySource | Iterable[AnySource],
        *,
        direction: Direction | None = None,
        style: Style | None = None,
        instances: AnySource | None = None,
        mask: AnySource | None = None,
        feather: int = FEATHER,
        noise: int | None = None,
        reading: Reading = PLAIN,
        batch: int | None = None,
        freeze_norm: bool = False,
    ) -> Picture | Iterator[Picture]:
        """Translate one image: a file or its bytes, Pillow's, an array of (H, W) or (H, W, C), a tensor, or a Picture.

        Arrays are of uint8, uint16 or float32; tensors are (C, H, W), of uint8 or floats in [-1, 1]. A label map is given in
        the same ways, and `instances` with it where the model needs them; and a `mask`, white where the image is to change, or
        "alpha" for its own alpha channel. A `style` is one of `draw_styles` or `encode_style`, and `noise` the seed of dropout
        noise. The result has the size of the source and the deeper type of the source's and the model's.

        An iterable of these gives an iterator of their results, which takes and computes a `batch` whenever the next one is
        asked for; all have the same style, noise and mask. With `freeze_norm` norms use the statistics of the first image for
        all. Raises ImageError.
        """
        styles = everybodys(style)
        if noise is not None:
            styles = self._noisy(styles, noise)
        way = self.way(direction, styles, replace(reading, masking=Masking.of(mask, feather)))
        if isinstance(source, get_args(AnySource)) or not isinstance(source, Iterable):
            if batch is not None or freeze_norm:
                raise UserError("batch and freeze_norm are for an iterable of images, and this is one", "leave them out")
            return self._translated(source, way, instances, mask, TIFF)  # type: ignore[arg-type]
        if instances is not None:
            raise UserError("instance maps go with one label map, not with an iterable", "translate them one by one")
        return self._each(source, way, mask, self._pace(way, batch, freeze_norm))

    def _each(self, sources: Iterable[Any], way: Way, mask: AnySource | None, pace: Pace) -> Iterator[Picture]:
        _refuse_instances(way, None)
        return (made[0] for made in footage.pictures(self.engine, _givens(sources, way, mask), way, pace))

    def translate_bytes(
        self,
        data: bytes,
        format: FormatName | None = None,
        *,
        packing: Packing = USUAL,
        direction: Direction | None = None,
        styles: Styles = TYPICAL,
        instances: AnySource | None = None,
        mask: AnySource | None = None,
        feather: int = FEATHER,
        reading: Reading = PLAIN,
    ) -> bytes:
        """The bytes of one image file to those of another, of a `format` or one that holds the result."""
        way = self.way(direction, styles, replace(reading, masking=Masking.of(mask, feather)))
        suffix = naming.suffix(Path(), way.y, format)
        if suffix not in FORMATS:
            raise UserError(f"one image is no {suffix[1:].upper()}", "name the format of an image")
        picture = self._translated(data, way, instances, mask, FORMATS[suffix])
        return images.encode(picture, suffix, packing)

    def _translated(
        self,
        source: AnySource,
        way: Way,
        instances: AnySource | None,
        mask: AnySource | None,
        file: Format,
    ) -> Picture:
        _refuse_instances(way, instances)
        given = _given(source, way, mask, instances, file)
        return self.engine.outputs([given], way)[0].pictures(given, way)[0]

    def translate_raw(
        self,
        stream: BinaryIO,
        size: tuple[int, int],
        *,
        direction: Direction | None = None,
        styles: Styles = TYPICAL,
        mask: AnySource | None = None,
        feather: int = FEATHER,
        batch: int | None = None,
        freeze_norm: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> Iterator[bytes]:
        """Frames of rgb24, as `ffmpeg -f rawvideo` writes and takes them, to as many of the same size, (width, height)."""
        if size[0] * size[1] > max_pixels:
            raise UserError(f"frames of {size[0]}x{size[1]} pixels are over {max_pixels / 1e6:g} megapixels", "--max-pixels")
        way = self.way(direction, styles, Reading(masking=Masking.of(mask, feather)))
        if (way.y.dtype, way.y.channels) not in (("uint8", 1), ("uint8", 3)):
            raise UserError(f"the model's output ({way.y}) is no rgb24", "translate images, whose files can hold it")
        made = self._each(footage.raw(stream, *size), way, mask, self._pace(way, batch, freeze_norm))
        return (shown(picture.array, way.y).tobytes() for picture in made)

    def draw_styles(self, count: int, seed: int = 0) -> list[Style]:
        """`count` styles for `translate`, the same for the same seed. Raises UserError where the model has none."""
        return self.model.method.draw_styles(count, seed)

    def encode_style(self, source: AnySource) -> Style:
        """The style of an image of the output side, of any size. Raises UserError where the model cannot tell it."""
        y = self.model.y
        values, scale = scaled(opened(source, y), y)
        return self.engine.style_of(scale.to_float(self.engine.moved([values])))

    def styles(
        self,
        *,
        samples: int | None = None,
        seed: int | None = None,
        same_style: bool = False,
        style: Mapping[int, int] | None = None,
        style_from: AnySource | None = None,
        interpolate: int | None = None,
        noise: bool = False,
    ) -> Styles:
        """What is made of each input: see `translate_folder`. Raises UserError for what the model does not have."""
        drawing = samples is not None or seed is not None or interpolate is not None
        if drawing + bool(style) + (style_from is not None) > 1:
            raise UserError(
                "--style, --style-from, and --samples, --seed or --interpolate each say which styles to take",
                "give one of them",
            )
        if drawing:
            found = drawn(self.model.method, samples, seed or 0, same=same_style, frames=interpolate, noise=noise)
        elif style:
            found = everybodys(self.model.method.choose_style(style))
        elif style_from is not None:
            found = everybodys(self.encode_style(style_from))
        else:
            found = TYPICAL
        return self._noisy(found, seed or 0, same=same_style) if noise else found

    def _noisy(self, styles: Styles, seed: int, *, same: bool = True) -> Styles:
        require_noise(self.model.method)
        return noisy(styles, seed, same=same)

    def translate_folder(
        self,
        inputs: str | Path | Sequence[str | Path],
        out: str | Path,
        *,
        files_from: str | Path | None = None,
        null: bool = False,
        shard: str | None = None,
        instances: str | Path | None = None,
        mask: str | Path | None = None,
        feather: int = FEATHER,
        name: str | None = None,
        format: FormatName | None = None,
        existing: Existing = "refuse",
        compare: bool = False,
        alpha: str = "keep",
        keep_metadata: bool = False,
        quality: int = USUAL.quality,
        compression: int | None = None,
        direction: Direction | None = None,
        batch: int | None = None,
        freeze_norm: bool = False,
        workers: int = WORKERS,
        max_pixels: int = MAX_PIXELS,
        max_errors: int | None = None,
        log: str | Path | None = None,
        errors_to: str | Path | None = None,
        **styles: Any,
    ) -> Iterator[Record]:
        """Translate files, folders (with all below them) and patterns into `out`, and tell of each output as it is done.

        The keywords are the options of the command, which its help explains. `styles` are those of the method `styles`:
        `samples=3` numbered outputs of each, drawn with `seed=0`, with `same_style=True` the same for all; `style_from=` an
        image; `style={label: kind}`; or `interpolate=8` frames from one of the samples to the next, as a strip, a GIF or an
        MP4; and `noise=True`. Raises UserError at once for what `plan` and `styles` refuse. An image that cannot be read
        becomes a record that says so.
        """
        given, wanted = [inputs] if isinstance(inputs, (str, Path)) else inputs, self.styles(**styles)
        jobs = self.plan(
            given,
            out,
            files_from=files_from,
            null=null,
            shard=shard,
            instances=instances,
            mask=mask,
            name=name,
            format=format,
            existing=existing,
            compare=compare,
            direction=direction,
            styles=wanted,
        )
        book = Logbook(log and Path(log), errors_to and Path(errors_to), null, shared=shard is not None)  # type: ignore[arg-type]
        book.check(jobs, files_from)
        return self.translate_files(
            jobs,
            direction=direction,
            styles=wanted,
            reading=Reading(Alpha.parse(alpha), max_pixels, keep_metadata, Masking.of(mask, feather)),
            packing=Packing(quality, compression),
            batch=batch,
            freeze_norm=freeze_norm,
            workers=workers,
            max_errors=max_errors,
            book=book,
        )

    def plan(
        self,
        given: Sequence[str | Path],
        out: str | Path,
        *,
        files_from: str | Path | None = None,
        null: bool = False,
        shard: str | None = None,
        instances: str | Path | None = None,
        mask: str | Path | None = None,
        name: str | None = None,
        format: FormatName | None = None,
        existing: Existing = "refuse",
        compare: bool = False,
        direction: Direction | None = None,
        styles: Styles = TYPICAL,
    ) -> list[Job]:
        """What `translate_folder` would do. Nothing is written."""
        way = self.way(direction, reading=Reading(masking=Masking.of(mask)))
        _refuse_instances(way, instances)
        if compare and styles.movie:
            raise UserError("a movie cannot be shown beside its input", "leave --compare or --interpolate out")
        found = inputs.find(given) if files_from is None else inputs.listed(files_from, given, null=null)
        return naming.plan(
            found,
            Path(out),
            way.y,
            format,
            existing,
            template=AS_INPUTS if name is None else Template(name, self.model.name),
            count=styles.count,
            movie=styles.movie,
            annotations=self.model.method.keeps_annotations,
            compare=compare,
            instances=Path(instances) if instances else None,
            masks=Path(mask) if mask and mask != ALPHA else None,
            shard=None if shard is None else inputs.Shard.parse(shard),
        )

    def translate_files(
        self,
        jobs: Sequence[Job],
        *,
        direction: Direction | None = None,
        styles: Styles = TYPICAL,
        reading: Reading = PLAIN,
        packing: Packing = USUAL,
        batch: int | None = None,
        freeze_norm: bool = False,
        workers: int = WORKERS,
        max_errors: int | None = None,
        book: Logbook = NOTHING,
        stopped: Callable[[], bool] = lambda: False,
        told: Told | None = None,
    ) -> Iterator[Record]:
        """Do the jobs, in their order, and note what became of them in the `book`. `told` is called with each frame of a video.

        Once `stopped` says so, or `max_errors` have come, what is computed is still written, and nothing else begun; a video
        that is not at its end is given up.
        """
        way = self.way(direction, styles, reading)
        pace, counted = self._pace(way, batch, freeze_norm), _Counted(max_errors, stopped)
        naming.make_folders(jobs)
        return counted.noted(self._records(jobs, way, packing, pace, workers, counted.ends, told), book)

    def _pace(self, way: Way, batch: int | None, freeze_norm: bool) -> Pace:
        if freeze_norm and not any(map(image_norms, self.model.method.generators().values())):
            raise UserError(f"'{self.model.name}' has no norm with statistics of the image", "leave --freeze-norm out")
        return Pace(self.engine.usual_batch(way), PIXELS, freeze_norm) if batch is None else Pace(batch, math.inf, freeze_norm)

    def _records(
        self,
        jobs: Iterable[Job],
        way: Way,
        packing: Packing,
        pace: Pace,
        workers: int,
        stopped: Callable[[], bool],
        told: Told | None,
    ) -> Iterator[Record]:
        """Images many at a time, and between them videos one by one."""
        for are_videos, neighbours in groupby(jobs, lambda job: job.is_video):
            if not are_videos:
                yield from self._images(neighbours, way, packing, pace, workers, stopped)
                continue
            for job in neighbours:
                if stopped():
                    return
                yield from footage.translate(job, self.engine, way, pace, stopped, told)

    def _images(
        self, jobs: Iterable[Job], way: Way, packing: Packing, pace: Pace, workers: int, stopped: Callable[[], bool]
    ) -> Iterator[Record]:
        """Decode ahead in threads, compute here, encode behind in threads; at most a few batches are in memory."""
        writing: deque[Future[list[Record]]] = deque()
        ahead = max(2 * pace.most, workers if workers > WORKERS else 0)  # who asks for more threads has memory for more images
        with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
            waiting = _in_order(readers, lambda job: read(job, way), jobs, ahead)
            for items in self.engine.batches(waiting, pace.most, pace.pixels):
                if stopped():
                    break
                self._compute(items, way)
                writing.extend(writers.submit(write, item, way.y, packing) for item in items)
                while writing and (writing[0].done() or len(writing) > ahead):
                    yield from writing.popleft().result()
            while writing:
                yield from writing.popleft().result()

    def _compute(self, items: list[Item], way: Way) -> None:
        """Give each item that was read its results."""
        real = [(item, item.given) for item in items if item.given]
        if not real:
            return
        start = time.perf_counter()
        outputs = self.engine.outputs([given for _, given in real], way)
        for (item, given), computed in zip(real, outputs, strict=True):
            try:
                with naming_file(item.job):
                    frames = computed.pictures(given, way)
                item.results = [frames] if way.styles.movie else [[frame] for frame in frames]
            except ImageError as error:
                item.error = error
            item.given = None
        for item, _ in real:
            item.seconds += (time.perf_counter() - start) / len(real)


def trained_scale(data: DataSettings) -> int | None:
    """The shorter side that training images had before the crop, where it was the same for all."""
    return min(data.resized) if data.resize in ("square", "shorter") else None


class _Counted:
    """Counts what fails, and says when nothing else is to be begun."""

    def __init__(self, most: int | None, stopped: Callable[[], bool]):
        self.most, self.stopped, self.failed = most, stopped, 0

    def ends(self) -> bool:
        return self.stopped() or (self.most is not None and self.failed >= self.most)

    def noted(self, records: Iterator[Record], book: Logbook) -> Iterator[Record]:
        with book.open() as note, closing(records):  # type: ignore[type-var]
            for record in records:
                self.failed += record.status == "failed"
                note(record)
                yield record


def _given(
    source: AnySource, way: Way, mask: AnySource | Paste | None, instances: AnySource | None = None, file: Format = TIFF
) -> Given:
    """One image, ready for the first of the way's styles."""
    styles, noise = way.styles.of(Path())[:1], way.styles.noise(Path())
    given = ready(opened(source, way.x, way.reading), opened(instances, THINGS, way.reading), way, styles, file, mask)
    return replace(given, noise=noise and noise[:1])


def _givens(sources: Iterable[Any], way: Way, mask: AnySource | Paste | None) -> Iterator[Given]:
    """The images of an iterable, ready for the first of the way's styles. A mask is read and feathered once for each size."""
    for number, source in enumerate(sources, 1):
        with footage.numbering(number):
            given = _given(source, way, mask)
        mask = given.paste or mask
        yield given


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
