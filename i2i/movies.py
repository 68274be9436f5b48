"""A sequence of pictures in one file: side by side, or one after the other."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from i2i import atomic, images
from i2i.encoders import USUAL, Format, Packing
from i2i.images import ImageError, Picture

MovieName = Literal["strip", "gif", "mp4"]
RATE = 8  # frames a second, as in BicycleGAN's published code


def write(path: Path, frames: Sequence[Picture], packing: Packing = USUAL) -> None:
    """Write what the suffix of `path` says, whole or not at all: a movie, or for a kind of image a strip."""
    kind = MOVIES.get(path.suffix.lower())
    if kind is None:
        return images.write(path, strip(frames), packing)
    data = kind.encode(np.stack([frame.array for frame in frames]), False, packing)
    try:
        return atomic.write_bytes(path, data)
    except OSError as error:
        hint = "check that the folder is there and may be written to"
        raise ImageError(f"cannot write {str(path)!r}: {error.strerror or error}", hint) from error


def strip(frames: Sequence[Picture]) -> Picture:
    """All frames side by side; the same, where there is one."""
    if len(frames) == 1:
        return frames[0]
    alphas = [frame.alpha for frame in frames if frame.alpha is not None]
    return Picture(np.hstack([frame.array for frame in frames]), np.hstack(alphas) if alphas else None, frames[0].notes)


def _gif(frames: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    """frames: (T, H, W, C) uint8."""
    first, *rest = [Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in frames]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=1000 // RATE, loop=0)
    return file.getvalue()


def _mp4(frames: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    """frames: (T, H, W, C) uint8. Sides become even, as the format demands: an odd one repeats its last pixel."""
    _, height, width, channels = frames.shape
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    turn = cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_GRAY2BGR
    with tempfile.TemporaryDirectory() as folder:  # OpenCV writes to names only, and not to all that people have
        file = Path(folder, "movie.mp4")
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), RATE, frames.shape[2:0:-1])
        for frame in frames:
            writer.write(cv2.cvtColor(frame, turn))
        writer.release()
        if not file.is_file() or not file.stat().st_size:
            raise ImageError(f"this OpenCV cannot write MP4 of {width}x{height} pixels", "--format gif can be written")
        return file.read_bytes()


MOVIES = {".gif": Format("GIF", ("uint8",), False, _gif), ".mp4": Format("MP4", ("uint8",), False, _mp4)}
