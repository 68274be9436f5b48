"""Images one after another through the network, in batches: those that Python gives, raw frames, and whole videos."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from i2i import atomic, items, video
from i2i.domain import Domain
from i2i.encoders import USUAL
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.images import ImageError, Picture
from i2i.items import Given, Item, Record, Way, naming_file, ready
from i2i.masks import Paste
from i2i.movies import VIDEOS
from i2i.naming import Job
from i2i.video import Clip

Told = Callable[[Path, int, int | None], None]
"""Is called with a video, how many of its frames are done, and about how many there are."""


@dataclass(frozen=True)
class Pace:
    """How frames go through the network: at most `most` and so many `pixels` at once.

    `freeze_norm`: norms that take the statistics of the image at hand use those of the first for all, against flicker.
    """

    most: int
    pixels: float
    freeze_norm: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    given: Given


def pictures(
    engine: Engine, givens: Iterable[Given], way: Way, pace: Pace, word: str = "image"
) -> Generator[list[Picture], None, None]:
    """The outputs of each, one for each of its styles. No more is taken of what is given than the next batch needs.

    Errors name one by the `word` for it and its number.
    """
    number = 0
    for batch in engine.batches(map(Frame, givens), pace.most, pace.pixels):
        if pace.freeze_norm and way.statistics is None:
            way = replace(way, statistics=engine.statistics(batch[0].given, way))
        for frame, computed in zip(batch, engine.outputs([frame.given for frame in batch], way), strict=True):
            number += 1
            with numbering(number, word):
                made = computed.pictures(frame.given, way)
            yield made


@contextmanager
def numbering(number: int, word: str = "image") -> Iterator[None]:
    """Let errors inside name the image."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{word} {number}: {error.message}", error.hint) from error


def raw(stream: BinaryIO, width: int, height: int) -> Iterator[np.ndarray]:
    """The frames in a stream of rgb24, (H, W, 3) uint8. Raises UserError where the last one is not whole."""
    size, number = width * height * 3, 1
    while data := stream.read(size):
        if len(data) < size:
            hint = "is the size right? the program that sends the frames may also have ended early"
            raise UserError(f"frame {number} has {len(data)} bytes, but {width}x{height} in rgb24 are {size}", hint)
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        number += 1


# Videos


class _Stopped(Exception):
    """The work is to end, and this video is not done."""


def translate(
    job: Job, engine: Engine, way: Way, pace: Pace, stopped: Callable[[], bool] = lambda: False, told: Told | None = None
) -> list[Record]:
    """Translate every frame of a video, in order, in the same styles; its rate, size and sound stay.

    Nothing is returned, and nothing left behind, once `stopped` says so.
    """
    start = time.perf_counter()
    try:
        frames, first, notes = (0, None, []) if job.skip else _made(job, engine, way, pace, stopped, told)
    except ImageError as error:
        return items.write(Item(job, error=error, seconds=time.perf_counter() - start), way.y, USUAL)
    except _Stopped:
        return []
    records = items.write(Item(job), way.y, USUAL)
    if first is None:
        return records
    ms = round(1000 * (time.perf_counter() - start) / len(records), 1)
    made = replace(records[0], status="done", frames=frames, width=first.width, height=first.height, ms=ms, notes=tuple(notes))
    return [
        record if output.there or record.error else replace(made, output=record.output, annotations=record.annotations)
        for record, output in zip(records, job.outputs, strict=True)
    ]


def _made(
    job: Job, engine: Engine, way: Way, pace: Pace, stopped: Callable[[], bool], told: Told | None
) -> tuple[int, Picture, list[str]]:
    """Write what is not there: the number of frames, the first output, and words about it. Raises ImageError."""
    paths = [output.path for output in job.outputs if not output.there]
    frames, first = 0, None
    with video.opened(job.input, max_pixels=way.reading.max_pixels) as clip, naming_file(job), ExitStack() as files:
        _refuse_labels(way)
        scratches = [files.enter_context(_replacing(path)) for path in paths]
        with (
            closing(_ahead(_given(clip, job, way), pace.most)) as givens,
            closing(pictures(engine, givens, way, pace, "frame")) as results,
            _writing(scratches, clip, way.y, pace.most) as write,
        ):
            for made in results:
                if stopped():
                    raise _Stopped
                write(made)
                frames, first = frames + 1, first or made[0]
                if told:
                    told(job.input, frames, clip.count)
        assert first is not None  # a clip that could be opened has a frame
        said = [*job.notes, *first.notes, *clip.notes, *_evened(clip)]
        said += [note for scratch in scratches if (note := video.add_sound(scratch, job.input))][:1]
        if stopped():
            raise _Stopped
    return frames, first, said


def _refuse_labels(way: Way) -> None:
    if way.x.labels:
        raise ImageError("the model reads label maps, and the colours of a video are no labels", "give it images")


def _evened(clip: Clip) -> list[str]:
    odd = clip.height % 2 or clip.width % 2
    return ["an odd side became even by one more row or column, as videos need it"] if odd else []


def _given(clip: Clip, job: Job, way: Way) -> Iterator[Given]:
    """The frames; all have the same styles, noise and mask."""
    styles, noise = items.missing(job, way)
    mask: Path | Paste | None = job.mask
    for frame in clip.frames():
        given = ready(frame, None, way, styles, VIDEOS[".mp4"], mask)
        mask = given.paste or mask  # which is read and feathered once
        yield replace(given, noise=noise)


def _ahead(givens: Iterator[Given], most: int) -> Generator[Given, None, None]:
    """The same, read by a thread that is so many ahead."""
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, givens, None) for _ in range(most + 1))
        while (given := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, givens, None))
            yield given


@contextmanager
def _writing(paths: Sequence[Path], clip: Clip, y: Domain, most: int) -> Iterator[Callable[[list[Picture]], None]]:
    """Give the function that adds a frame to each file. A thread does so, and has at most so many frames to do."""
    with ExitStack() as files, ThreadPoolExecutor(1) as writer:
        adders = [files.enter_context(video.written(path, clip.rate, (clip.height, clip.width))) for path in paths]
        waiting: deque[Future[None]] = deque()

        def write(frames: list[Picture]) -> None:
            for add, frame in zip(adders, frames, strict=True):
                waiting.append(writer.submit(add, items.shown(frame.array, y)))
            while len(waiting) > most * len(paths):
                waiting.popleft().result()

        yield write
        for each in waiting:
            each.result()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    try:
        with atomic.replacing(path) as scratch:
            yield scratch
    except OSError as error:
        hint = "check that the folder is there and may be written to"
        raise ImageError(f"cannot write {str(path)!r}: {error.strerror or error}", hint) from error
