"""One image on its way: from its files to what the network gets, and from what came out to files and a record."""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from i2i import atomic, conversion, images, masks, movies, naming, video
from i2i.conversion import KEPT, Alpha, Padded
from i2i.domain import TOP, Domain
from i2i.encoders import TIFF, Format, Packing
from i2i.images import ImageError, Picture
from i2i.masks import Masking, Paste
from i2i.method import Accepts, Style
from i2i.naming import Job, Output
from i2i.norms import Statistics
from i2i.styles import TYPICAL, Styles, alike

AnySource = str | Path | bytes | Image.Image | np.ndarray | Picture | Tensor
THINGS = Domain(channels=1, labels=True, high=255)  # stands for instance maps: ids too, but of no classes
LARGE = 2
"""So many times the size of training images is far from what a model has seen."""
SCALED = (
    "things look larger to the model than any that it has seen; smaller inputs, or training at a larger size, may look better"
)
DOUBLE = "translated whole, though the model was trained on halves of side-by-side images and it is twice as wide as high"


@dataclass(frozen=True)
class Record:
    """What became of one output; the fields are those of the JSON log. `ms` is the time spent on it alone.

    `frames` is the number of them in a video. `annotations` are the files that were copied to lie beside it.
    """

    input: Path
    output: Path
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    ms: float | None = None
    notes: tuple[str, ...] = ()
    annotations: tuple[Path, ...] = ()

    def tree(self) -> dict[str, Any]:
        paths = {"input": str(self.input), "output": str(self.output), "annotations": [str(path) for path in self.annotations]}
        return {**asdict(self), **paths}


@dataclass(frozen=True)
class Reading:
    """How files are read: what becomes of `alpha`, the most pixels, and whether EXIF and ICC profile come along.

    `masking`: only what lies inside of masks is to be changed.
    """

    alpha: Alpha = KEPT
    max_pixels: int = images.MAX_PIXELS
    metadata: bool = False
    masking: Masking | None = None


PLAIN = Reading()


@dataclass(frozen=True)
class Way:
    """One direction through a model: x goes in, y comes out, in some `styles`.

    `instances`: ids of single things go in too. `from_halves`: it was trained on halves of double images. `statistics`: what
    the norms use instead of those of each image, for each style; what is not known yet is added from the next image. `scale`
    is the shorter side that images had in training, where all were resized to one.
    """

    x: Domain
    y: Domain
    accepts: Accepts
    reverse: bool
    from_halves: bool
    instances: bool
    styles: Styles = TYPICAL
    reading: Reading = PLAIN
    statistics: Sequence[Statistics] | None = None
    scale: int | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """What the network gets of one image. instances: (H, W, 1) int64, padded alike.

    `paste` says what of the image stays as it was, `noise` are the seeds of dropout noise, one for each style.
    """

    padded: Padded
    styles: Sequence[Style | None]
    instances: np.ndarray | None
    paste: Paste | None = None
    noise: Sequence[int] | None = None

    @property
    def pixels(self) -> int:
        return math.prod(self.padded.values.shape[:2]) * len(self.styles)

    def fits(self, other: "Given") -> bool:
        """Whether both can be in one batch."""
        return self.padded.kind == other.padded.kind and alike(self.styles, other.styles)


@dataclass
class Item:
    """One job on its way: what was read, then the frames of each output that is not there, or why it failed.

    `shown` is the input as people see it, (H, W, 3) uint8, where something is to show it.
    """

    job: Job
    given: Given | None = None
    results: list[list[Picture]] = field(default_factory=list)
    error: ImageError | None = None
    shown: np.ndarray | None = None
    seconds: float = 0.0


# Reading


def opened(source: Any, x: Domain, reading: Reading = PLAIN) -> Any:
    """The same; of a file, or of its bytes, the picture that it holds, or the ids; of a tensor of whole numbers the array."""
    if isinstance(source, Tensor) and (x.labels or not source.is_floating_point()):
        return _array(source)
    if not isinstance(source, (str, Path, bytes)):
        return source
    file, limit = Path(source) if isinstance(source, str) else source, reading.max_pixels
    if isinstance(file, Path) and video.is_video(file):
        hint = "translate_folder and the command take videos; i2i.video.opened gives their frames"
        raise ImageError(f"'{file}' is a video, and an image is expected", hint)
    if x.labels:
        return images.read_ids(file, x.palette, max_pixels=limit)
    return images.read(file, max_pixels=limit, metadata=reading.metadata)


def ready(
    source: Any, instances: Any, way: Way, styles: Sequence[Style | None], file: Format = TIFF, mask: Any = None
) -> Given:
    """Ready for the network, for results that `file` can hold. Raises ImageError for what does not fit the model."""
    x, y, accepts, reading, paste = way.x, way.y, way.accepts, way.reading, None
    if x.labels:
        padded = conversion.prepare_ids(conversion.as_ids(source, x), x, y, accepts)
    elif isinstance(source, Tensor):
        if reading.masking:
            raise ImageError("a tensor of floats has no pixels that could stay as they are outside of a mask", "give uint8")
        values, scale = scaled(source, x)
        values, rows, columns = conversion.padded(values, accepts)
        padded = Padded(values, scale, rows, columns, y.dtype, None, ())
    else:
        picture = conversion.as_picture(source, x)
        ground = reading.alpha.of(picture)
        padded = conversion.prepare(ground, x, y, accepts, file)
        if reading.masking:
            paste = masks.paste(picture, ground, mask, reading.masking, x, padded.dtype, reading.max_pixels)
            loses = f"{file.name} loses a little of every pixel, outside of the mask too"
            padded = replace(padded, notes=(*padded.notes, loses)) if file.lossy else padded
    return Given(padded, styles, None if instances is None else _padded_alike(instances, padded, accepts), paste)


def scaled(source: Any, domain: Domain) -> tuple[np.ndarray, Domain]:
    """The values (H, W, C) of what was opened, and what they are: as the domain has them, or those of a tensor in [-1, 1]."""
    if not isinstance(source, Tensor):
        return domain.conform(conversion.as_picture(source, domain)), domain
    array = _array(source).astype(np.float32)
    if not (np.abs(array) <= 1.001).all():  # a resampled image may overshoot, but 0 to 255 is another scale
        raise ImageError("a tensor of floats has values outside of [-1, 1]", "scale it, or give uint8")
    scale = Domain(channels=domain.channels, dtype="float32", low=-1, high=1)
    return scale.conform(Picture(array)), scale


def _array(image: Tensor) -> np.ndarray:
    """image: (C, H, W) -> (H, W, C)."""
    if image.ndim != 3 or not image.numel():
        what = f"a tensor of {str(image.dtype).removeprefix('torch.')} with the shape {tuple(image.shape)}"
        raise ImageError(f"{what} is no image", "(C, H, W), uint8 or float in [-1, 1]; a batch is given as iter(batch)")
    image = image.detach().permute(1, 2, 0).cpu()
    return (image.float() if image.is_floating_point() else image).numpy()


def _padded_alike(instances: Any, padded: Padded, accepts: Accepts) -> np.ndarray:
    ids = conversion.as_ids(instances, THINGS)
    height, width = _size(padded)
    if ids.shape != (height, width):
        raise ImageError(
            f"it has {width}x{height} pixels, but its instance map {ids.shape[1]}x{ids.shape[0]}", "they show the same pixels"
        )
    return conversion.padded(ids[..., None], accepts)[0]


def _size(padded: Padded) -> tuple[int, int]:
    """(height, width) of the picture that was padded."""
    return padded.rows.stop - padded.rows.start, padded.columns.stop - padded.columns.start


def read(job: Job, way: Way) -> Item:
    """The start of every item. Nothing is read of one that is skipped."""
    item, start = Item(job), time.perf_counter()
    try:
        if not job.skip:
            item.given = _read_all(job, way)
            if any(output.compare for output in job.outputs):
                item.shown = shown_input(item.given.padded, way.x)
    except ImageError as error:
        item.error = error
    item.seconds = time.perf_counter() - start
    return item


def missing(job: Job, way: Way) -> tuple[Sequence[Style | None], Sequence[int] | None]:
    """The styles and the noise of those outputs that are not there yet; of a movie all."""
    styles, noise = way.styles.of(job.relative), way.styles.noise(job.relative)
    if way.styles.movie:
        return styles, noise
    wanted = [not output.there for output in job.outputs]
    return [*compress(styles, wanted)], noise and [*compress(noise, wanted)]


def _read_all(job: Job, way: Way) -> Given:
    source, instances = opened(job.input, way.x, way.reading), opened(job.instances, THINGS, way.reading)
    (styles, noise), file = missing(job, way), naming.KINDS[job.outputs[0].path.suffix.lower()]
    with naming_file(job):
        if way.instances and instances is None:
            raise ImageError("it has no instance map", "one lies beside the others, under the name of the label map")
        given = replace(ready(source, instances, way, styles, file, job.mask), noise=noise)
    height, width = _size(given.padded)
    notes: tuple[str, ...] = (DOUBLE,) if way.from_halves and width == 2 * height else ()
    if way.scale and min(height, width) > LARGE * way.scale:
        notes += (f"over {LARGE} times as large as in training, where images were resized to {way.scale} pixels: {SCALED}",)
    return replace(given, padded=replace(given.padded, notes=(*given.padded.notes, *notes))) if notes else given


@contextmanager
def naming_file(job: Job) -> Iterator[None]:
    """Let errors inside name the file."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot translate {str(job.input)!r}: {error.message}", error.hint) from error


# Writing


def write(item: Item, y: Domain, packing: Packing) -> list[Record]:
    """The end of every item: its files, where it has results, and a record of each."""
    results = iter(item.results)
    return [_written(item, output, [] if output.there else next(results, []), y, packing) for output in item.job.outputs]


def _written(item: Item, output: Output, frames: list[Picture], y: Domain, packing: Packing) -> Record:
    record, start = Record(item.job.input, output.path, "skipped"), time.perf_counter()
    error = None if output.there else item.error
    try:
        if frames:
            if output.compare and item.shown is not None:
                both = np.hstack([item.shown, shown(frames[0].array, y)])
                images.write(output.compare, Picture(both), replace(packing, compression=None))
            movies.write(output.path, frames, packing)
        if not error:
            record = replace(record, annotations=_copied(output))
    except ImageError as problem:
        error = problem
    ms = round(1000 * (item.seconds / len(item.job.outputs) + time.perf_counter() - start), 1)
    if error:
        return replace(record, status="failed", error=error.message, hint=error.hint, ms=ms)
    if not frames:
        return record
    notes, first = (*item.job.notes, *frames[0].notes), frames[0]
    return replace(record, status="done", ms=ms, notes=notes, width=first.width, height=first.height)


def _copied(output: Output) -> tuple[Path, ...]:
    """Copy what shall lie beside the output, each file whole or not at all."""
    for file, to in output.copies:
        try:
            with atomic.replacing(to) as scratch:
                shutil.copyfile(file, scratch)
        except OSError as error:
            raise ImageError(f"cannot copy '{file}' to '{to}': {error.strerror or error}", "check who owns both") from error
    return tuple(to for _, to in output.copies)


# Looking


def shown(array: np.ndarray, domain: Domain) -> np.ndarray:
    """Values of a domain as people see them, of any integer type or its own. array: (H, W, C). Returns (H, W, 3) uint8."""
    colours = array[..., :3] if array.shape[2] >= 3 else np.repeat(array[..., :1], 3, axis=2)
    if array.dtype.kind != "f":
        return (colours // (TOP[array.dtype.name] // 255)).astype(np.uint8)
    share = (colours - domain.low) / (domain.high - domain.low)
    return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


def shown_input(padded: Padded, x: Domain) -> np.ndarray:
    """What was padded; of a label map its palette's colours, or the classes from black to white."""
    values = padded.values[padded.rows, padded.columns]
    if not x.labels:
        return shown(values, padded.scale)
    if x.palette:
        return np.array([*x.palette, (0, 0, 0)], np.uint8)[values[..., 0]]
    return np.repeat((values.astype(np.int64) * 255 // max(x.channels - 1, 1)).astype(np.uint8), 3, axis=2)
