"""Videos as files: frames in, frames out, and the sound beside them. All that is known about containers and codecs is here."""

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from i2i import atomic, images
from i2i.images import MAX_PIXELS, ImageError

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "mp4v"}
"""What can be written, and the codec in it: MPEG-4 part 2, the best one that every build of OpenCV has."""
SUFFIXES = frozenset(CODECS) | {".webm"}
USUAL_RATE, HIGHEST_RATE = 25.0, 1000.0
MOST_FRAMES = 2**30  # what is said of a stream is no less, or below zero
AFTER = 64  # reads that are tried behind a frame that could not be decoded, to know a hole from the end
ANOTHER = "play it to its end in a viewer, or get it again"

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # OpenCV's decoders talk to stderr; what matters is said by us


def is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


# Reading


@dataclass
class Clip:
    """A video that is open: `rate` frames a second, upright, about `count` of them where the file says so."""

    path: Path
    rate: float
    height: int
    width: int
    count: int | None
    notes: list[str]
    _capture: Any = field(repr=False)
    _first: np.ndarray = field(repr=False)
    _exact: bool = False

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame once, (H, W, 3) uint8 in RGB. Raises ImageError with the number of one that cannot be read."""
        frame, number, last = self._first, 0, 0.0
        while frame is not None:
            number += 1
            if frame.shape != self._first.shape:
                size = f"{frame.shape[1]}x{frame.shape[0]} pixels"
                raise ImageError(f"frame {number} has {size}, the first one {self.width}x{self.height}", ANOTHER)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            last = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            frame = self._capture.read()[1]
        self._check_end(number)
        steady = (number - 1) / self.rate
        if abs(last - steady) > 0.02 * steady + 2 / self.rate:
            self.notes.append(f"its frame rate varies, the output's does not: {steady:.1f} seconds instead of {last:.1f}")

    def _check_end(self, read: int) -> None:
        """OpenCV does not tell a damaged frame from the end."""
        if any(self._capture.grab() for _ in range(AFTER)):
            raise ImageError(f"frame {read + 1} cannot be decoded, though there are others behind it", ANOTHER)
        if self._exact and self.count and read < self.count and _uncut(self.path) < self.count:
            raise ImageError(f"frame {read + 1} of {self.count} cannot be decoded", ANOTHER)


@contextmanager
def opened(path: Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[Clip]:
    """The video in a file. Raises ImageError where there is none, or not the whole of it."""
    with images.blaming(path), images.opened(path) as file:
        exact = _check_whole(file)
    with _plain(path) as name, _quiet():
        capture = cv2.VideoCapture(name)
    try:
        with images.blaming(path):
            clip = _clip(path, capture, exact, max_pixels)
        yield clip
    finally:
        capture.release()


def _clip(path: Path, capture: Any, exact: bool, max_pixels: int) -> Clip:
    if not capture.isOpened():
        raise ImageError("it is damaged, or no video that OpenCV can decode", ANOTHER)
    width, height = (int(capture.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        raise ImageError(f"its frames of {width}x{height} pixels are over {max_pixels / 1e6:g} megapixels", "--max-pixels")
    _, first = capture.read()
    if first is None:
        raise ImageError("there is no frame in it that can be decoded", ANOTHER)
    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    notes = []
    if not 0 < rate <= HIGHEST_RATE:
        notes.append(f"its frame rate is not known, and taken to be {USUAL_RATE:g}")
        rate = USUAL_RATE
    height, width = first.shape[:2]  # upright, which the header is not in every version of OpenCV
    return Clip(path, rate, height, width, int(count) if 0 < count < MOST_FRAMES else None, notes, capture, first, exact)


CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def _uncut(path: Path) -> int:
    """The frames that can be decoded, with those that an edit list of the file leaves out."""
    before = os.environ.get(CAPTURE_OPTIONS)
    os.environ[CAPTURE_OPTIONS] = "ignore_editlist;1"
    try:
        with _plain(path) as name, _quiet():
            capture = cv2.VideoCapture(name)
    finally:
        del os.environ[CAPTURE_OPTIONS]
        if before is not None:
            os.environ[CAPTURE_OPTIONS] = before
    number = 0
    while capture.grab():
        number += 1
    capture.release()
    return number


# Containers

BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # what an MP4 or MOV may begin with

UNKNOWN = 2**32 - 1  # the length in an AVI that was written to a pipe


def _check_whole(file: BinaryIO) -> bool:
    """Whether its number of frames is one that was counted. Raises ImageError where the file is shorter than it says."""
    head = file.read(12)
    if not head:
        raise ImageError("the file is empty", ANOTHER)
    found = file.seek(0, os.SEEK_END)
    if head.startswith(b"\x1aE\xdf\xa3"):
        exact, end = False, _matroska_end(file)
    elif head.startswith(b"RIFF"):
        (length,) = struct.unpack("<I", head[4:8])
        exact, end = length != UNKNOWN, 0 if length == UNKNOWN else 8 + length
    else:
        exact, end = _mp4_end(file, found) if head[4:8] in BOXES else (False, 0)
    if end > found:
        raise ImageError(f"it is cut off: {found} of its {end} bytes are there", ANOTHER)
    return exact


def _mp4_end(file: BinaryIO, found: int) -> tuple[bool, int]:
    """Where the last box ends, in MP4 and MOV; of fragments nobody has counted the frames."""
    kinds, at = set(), 0
    while at + 8 <= found:
        file.seek(at)
        length, kind, longer = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        length = longer if length == 1 else length
        if length < 8 or not kind.isalnum():  # it reaches to the end, or what follows is no box
            break
        kinds.add(kind)
        at += length
    return b"moov" in kinds and b"moof" not in kinds, at


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment ends, in Matroska and WebM; 0 where that was not known when it began."""
    file.seek(4)
    header = _number(file)
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18S\x80g":
        return 0
    length = _number(file)
    return file.tell() + length if length else 0


def _number(file: BinaryIO) -> int:
    """A number of 1 to 8 bytes, as many as its first byte has leading zeros and one; 0 where all bits say "unknown"."""
    first = (file.read(1) or b"\0")[0]
    more = 8 - first.bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(bytes([first]) + file.read(more), "big") & ((1 << bits) - 1)
    return 0 if value == (1 << bits) - 1 else value


# Writing


@contextmanager
def written(path: Path, rate: float, size: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Give the function that adds a frame, (H, W, 3) uint8 in RGB, to a new file. `size`: (height, width).

    An odd side repeats its last pixels, since the format wants even ones. Raises ImageError where it cannot be written.
    """
    height, width = size
    frames = 0
    with _plain(path) as name, _quiet():
        even = (width + width % 2, height + height % 2)
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()]), rate, even)
    if not writer.isOpened():
        raise ImageError(f"this OpenCV cannot write {path.suffix[1:].upper()} of {width}x{height} pixels", "try another format")

    def add(frame: np.ndarray) -> None:
        nonlocal frames
        frames += 1
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        writer.write(cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))

    try:
        yield add
    finally:
        writer.release()
    _check_written(path, frames)


def _check_written(path: Path, frames: int) -> None:
    """OpenCV does not tell when a disk is full."""
    with _plain(path) as name, _quiet():
        capture = cv2.VideoCapture(name)
    found = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.grab() else 0
    capture.release()
    if abs(found - frames) > 1 + frames // 1000:  # of a Matroska file it is what its length and rate let expect
        with path.open("ab") as file:  # the system says why, where there is no place
            file.write(bytes(1 << 20))
        raise ImageError(f"only {found:.0f} of {frames} frames were written", "is the disk full?")


def add_sound(path: Path, source: Path) -> str | None:
    """Put the sound of `source` into the video at `path`, as it is, or as its format can hold it.

    Returns a word about sound that could not be carried over.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        return "without sound, if it had any: there is no ffmpeg program to carry it over"
    with atomic.temporary(path) as both:
        inputs = ["-i", f"file:{path}", "-i", f"file:{source}", "-map", "0:v", "-map", "1:a?", "-c:v", "copy"]
        for how in (["-c:a", "copy"], []):
            words = [program, "-v", "error", "-nostdin", "-y", *inputs, *how, f"file:{both}"]
            # in a session of its own, so that Ctrl-C leaves it to us what becomes of the file
            done = subprocess.run(words, capture_output=True, check=False, start_new_session=True)
            if done.returncode == 0:
                both.replace(path)
                return None
    reason = done.stderr.decode(errors="replace").strip().splitlines()
    return f"without sound: ffmpeg cannot carry it over ({reason[-1] if reason else 'and gives no reason'})"


# OpenCV


@contextmanager
def _plain(path: Path) -> Iterator[str]:
    """A name that OpenCV takes: it cannot spell all that people have, and what comes before a colon is no protocol."""
    whole = path.absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"video{path.suffix}")
            link.symlink_to(whole)
            yield str(link)
    else:
        yield str(whole)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own messages about files that it cannot open."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
