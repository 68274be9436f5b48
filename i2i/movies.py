"""A sequence of pictures in one file: side by side, or one after the other."""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from i2i import atomic, images, video
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


def _filmed(suffix: str) -> Callable[[np.ndarray, bool, Packing], bytes]:
    def encode(frames: np.ndarray, alpha: bool, packing: Packing) -> bytes:
        """frames: (T, H, W, C) uint8."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"movie{suffix}")
            with video.written(file, RATE, frames.shape[1:3]) as add:
                for frame in frames:
                    add(frame if frame.shape[2] == 3 else np.repeat(frame, 3, axis=2))
            return file.read_bytes()

    return encode


VIDEOS = {suffix: Format(suffix[1:].upper(), ("uint8",), False, _filmed(suffix), lossy=True) for suffix in video.CODECS}
MOVIES = {".gif": Format("GIF", ("uint8",), False, _gif, lossy=True)} | VIDEOS
