"""The kinds of file that can be written: what each can hold, and pixels to bytes.

An encoder gets (H, W, C) pixels that its format can hold, whether the last channel is alpha, and how to pack them.
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


@dataclass(frozen=True)
class Packing:
    """How pixels become a file: the `quality` of JPEG and WebP, 1 to 100; the `compression` of PNG, 0 to 9.

    Without a `compression` a PNG is made for speed: on photos about 8 times faster than Pillow's, and as small. `exif` and
    `icc` go into the file where its kind has a place for them.
    """

    quality: int = 95
    compression: int | None = None
    exif: bytes = b""
    icc: bytes = b""


USUAL = Packing()


def _png(stacked: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    if stacked.shape[2] == 2:
        data = _grey_alpha_png(stacked, -1 if packing.compression is None else packing.compression)
    else:
        data = _opencv_png(stacked, packing.compression)
    more = [_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(packing.icc))] if packing.icc else []
    more += [_chunk(b"eXIf", packing.exif.removeprefix(b"Exif\0\0"))] if packing.exif else []
    return b"".join([data[:HEADED], *more, data[HEADED:]])


def _opencv_png(stacked: np.ndarray, compression: int | None) -> bytes:
    if stacked.shape[2] > 1:
        stacked = stacked[..., [2, 1, 0, 3][: stacked.shape[2]]]
    how = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression, *SMALL]
    return cv2.imencode(".png", stacked, how)[1].tobytes()


HEADED = 8 + 25  # the bytes of the signature and the header
SMALL = cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _grey_alpha_png(stacked: np.ndarray, compression: int) -> bytes:
    """OpenCV has no such PNG, Pillow none with 16 bits. stacked: (H, W, 2). Filter 1, "Sub", on every row."""
    height, width, _ = stacked.shape
    step = 2 * stacked.itemsize
    rows = stacked.astype(stacked.dtype.newbyteorder(">")).view(np.uint8).reshape(height, width * step)
    rows = np.hstack([np.ones((height, 1), np.uint8), rows[:, :step], rows[:, step:] - rows[:, :-step]])
    shape = struct.pack(">IIBBBBB", width, height, 8 * stacked.itemsize, 4, 0, 0, 0)
    chunks = [(b"IHDR", shape), (b"IDAT", zlib.compress(rows.tobytes(), compression)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _bmp(stacked: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    return _by_pillow(stacked, "BMP")


def _jpeg(stacked: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    return _by_pillow(stacked, "JPEG", quality=packing.quality, **_beside(packing))


def _webp(stacked: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    exact = {"exact": True}  # keep the colour where alpha hides it
    return _by_pillow(stacked, "WEBP", quality=packing.quality, **exact, **_beside(packing))


def _tiff(stacked: np.ndarray, alpha: bool, packing: Packing) -> bytes:
    return tiff.encode(stacked, alpha)


def _beside(packing: Packing) -> dict[str, bytes]:
    """What goes into the file beside the pixels, in Pillow's words."""
    beside = {"exif": packing.exif, "icc_profile": packing.icc}
    return {name: value for name, value in beside.items() if value}


def _by_pillow(stacked: np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(stacked[..., 0] if stacked.shape[2] == 1 else stacked).save(file, format, **options)
    return file.getvalue()


@dataclass(frozen=True)
class Format:
    """What a kind of file can hold, `metadata` among it, and its encoder; a `lossy` one changes all pixels a little."""

    name: str
    dtypes: tuple[str, ...]
    alpha: bool
    encode: Callable[[np.ndarray, bool, Packing], bytes]
    metadata: bool = False
    lossy: bool = False


PNG = Format("PNG", ("uint16", "uint8"), True, _png, metadata=True)
JPEG = Format("JPEG", ("uint8",), False, _jpeg, metadata=True, lossy=True)
WEBP = Format("WebP", ("uint8",), True, _webp, metadata=True, lossy=True)
BMP = Format("BMP", ("uint8",), False, _bmp)
TIFF = Format("TIFF", ("float32", "uint16", "uint8"), True, _tiff)
FORMATS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP, ".bmp": BMP, ".tif": TIFF, ".tiff": TIFF}
