"""One image on its way: from its files to what the network gets, and from what came out to files and a record."""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from i2i import atomic, conversion, images, movies, naming
from i2i.conversion import Padded
from i2i.domain import Domain
from i2i.encoders import TIFF, Format
from i2i.images import ImageError, Picture
from i2i.method import Accepts, Style
from i2i.naming import Job, Output
from i2i.styles import TYPICAL, Styles, alike

AnySource = str | Path | Image.Image | np.ndarray | Picture
THINGS = Domain(channels=1, labels=True, high=255)  # stands for instance maps: ids too, but of no classes
DOUBLE = "translated whole, though the model was trained on halves of side-by-side images and it is twice as wide as high"


@dataclass(frozen=True)
class Record:
    """What became of one output; the fields are those of the JSON log. `ms` is the time spent on it alone.

    `annotations` are the files that were copied to lie beside it.
    """

    input: Path
    output: Path
    status: Literal["done", "skipped", "failed"]
    error: str | None = None
    hint: str | None = None
    width: int | None = None
    height: int | None = None
    ms: float | None = None
    notes: tuple[str, ...] = ()
    annotations: tuple[Path, ...] = ()

    def tree(self) -> dict[str, Any]:
        paths = {"input": str(self.input), "output": str(self.output), "annotations": [str(path) for path in self.annotations]}
        return {**asdict(self), **paths}


@dataclass(frozen=True)
class Way:
    """One direction through a model: x goes in, y comes out, in some `styles`.

    `instances`: ids of single things go in too. `from_halves`: it was trained on halves of double images.
    """

    x: Domain
    y: Domain
    accepts: Accepts
    reverse: bool
    from_halves: bool
    instances: bool
    styles: Styles = TYPICAL


@dataclass(frozen=True, eq=False)
class Given:
    """What the network gets of one image. instances: (H, W, 1) int64, padded alike."""

    padded: Padded
    styles: Sequence[Style | None]
    instances: np.ndarray | None

    @property
    def pixels(self) -> int:
        return math.prod(self.padded.values.shape[:2]) * len(self.styles)

    def fits(self, other: "Given") -> bool:
        """Whether both can be in one batch."""
        return self.padded.kind == other.padded.kind and alike(self.styles, other.styles)


@dataclass
class Item:
    """One job on its way: what was read, then the frames of each output that is not there, or why it failed."""

    job: Job
    given: Given | None = None
    results: list[list[Picture]] = field(default_factory=list)
    error: ImageError | None = None
    seconds: float = 0.0


# Reading


def opened(source: Any, x: Domain) -> Any:
    """The same; of a file the picture that it holds, or the ids."""
    if not isinstance(source, (str, Path)):
        return source
    return images.read_ids(Path(source), x.palette) if x.labels else images.read(Path(source))


def ready(source: Any, instances: Any, way: Way, styles: Sequence[Style | None], file: Format = TIFF) -> Given:
    """Ready for the network, for results that `file` can hold. Raises ImageError for what does not fit the model."""
    x, y, accepts = way.x, way.y, way.accepts
    if x.labels:
        padded = conversion.prepare_ids(conversion.as_ids(source, x), x, y, accepts)
    else:
        padded = conversion.prepare(conversion.as_picture(source, x), x, y, accepts, file)
    return Given(padded, styles, None if instances is None else _padded_alike(instances, padded, accepts))


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
    except ImageError as error:
        item.error = error
    item.seconds = time.perf_counter() - start
    return item


def _read_all(job: Job, way: Way) -> Given:
    source, instances = opened(job.input, way.x), opened(job.instances, THINGS)
    styles, file = way.styles.of(job.relative), naming.KINDS[job.outputs[0].path.suffix.lower()]
    if not way.styles.movie:
        styles = [style for style, output in zip(styles, job.outputs, strict=True) if not output.there]
    with naming_file(job):
        if way.instances and instances is None:
            raise ImageError("it has no instance map", "one lies beside the others, under the name of the label map")
        given = ready(source, instances, way, styles, file)
    height, width = _size(given.padded)
    if way.from_halves and width == 2 * height:
        return replace(given, padded=replace(given.padded, notes=(*given.padded.notes, DOUBLE)))
    return given


@contextmanager
def naming_file(job: Job) -> Iterator[None]:
    """Let errors inside name the file."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"cannot translate {str(job.input)!r}: {error.message}", error.hint) from error


# Writing


def write(item: Item, quality: int | None) -> list[Record]:
    """The end of every item: its files, where it has results, and a record of each."""
    results = iter(item.results)
    return [_written(item, output, [] if output.there else next(results, []), quality) for output in item.job.outputs]


def _written(item: Item, output: Output, frames: list[Picture], quality: int | None) -> Record:
    record, start = Record(item.job.input, output.path, "skipped"), time.perf_counter()
    error = None if output.there else item.error
    try:
        if frames:
            movies.write(output.path, frames, quality=quality)
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
