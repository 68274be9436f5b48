"""The kinds of file that can be written: what each can hold, and pixels to bytes.

An encoder gets (H, W, C) pixels that its format can hold, whether the last channel is alpha, and a quality.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from i2i import tiff


def _png(stacked: np.ndarray, alpha: bool, quality: int) -> bytes:
    if stacked.shape[2] == 2:
        return _grey_alpha_png(stacked)
    if stacked.shape[2] > 1:
        stacked = stacked[..., [2, 1, 0, 3][: stacked.shape[2]]]
    return cv2.imencode(".png", stacked)[1].tobytes()


def _grey_alpha_png(stacked: np.ndarray) -> bytes:
    """OpenCV has no such PNG, Pillow none with 16 bits. stacked: (H, W, 2). Filter 1, "Sub", on every row."""
    height, width, _ = stacked.shape
    step = 2 * stacked.itemsize
    rows = stacked.astype(stacked.dtype.newbyteorder(">")).view(np.uint8).reshape(height, width * step)
    rows = np.hstack([np.ones((height, 1), np.uint8), rows[:, :step], rows[:, step:] - rows[:, :-step]])
    shape = struct.pack(">IIBBBBB", width, height, 8 * stacked.itemsize, 4, 0, 0, 0)
    chunks = [(b"IHDR", shape), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _bmp(stacked: np.ndarray, alpha: bool, quality: int) -> bytes:
    return _by_pillow(stacked, "BMP")


def _jpeg(stacked: np.ndarray, alpha: bool, quality: int) -> bytes:
    return _by_pillow(stacked, "JPEG", quality=quality)


def _webp(stacked: np.ndarray, alpha: bool, quality: int) -> bytes:
    return _by_pillow(stacked, "WEBP", quality=quality, exact=True)  # keep the colour where alpha hides it


def _tiff(stacked: np.ndarray, alpha: bool, quality: int) -> bytes:
    return tiff.encode(stacked, alpha)


def _by_pillow(stacked: np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(stacked[..., 0] if stacked.shape[2] == 1 else stacked).save(file, format, **options)
    return file.getvalue()


@dataclass(frozen=True)
class Format:
    """What a kind of file can hold, and its encoder."""

    name: str
    dtypes: tuple[str, ...]
    alpha: bool
    encode: Callable[[np.ndarray, bool, int], bytes]


PNG = Format("PNG", ("uint16", "uint8"), True, _png)
JPEG = Format("JPEG", ("uint8",), False, _jpeg)
WEBP = Format("WebP", ("uint8",), True, _webp)
BMP = Format("BMP", ("uint8",), False, _bmp)
TIFF = Format("TIFF", ("float32", "uint16", "uint8"), True, _tiff)
FORMATS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP, ".bmp": BMP, ".tif": TIFF, ".tiff": TIFF}
