"""TIFF files of any number of channels and any depth: the layout, the samples as they are, and a writer.

Pillow turns 16-bit colour into 8 bits and cannot name many float and multi-channel kinds; OpenCV stops at four channels and
guesses their meaning. What both are good at is decompression of one-channel pictures, so that is all OpenCV is asked for here:
a row of W pixels with N samples each is decoded as a row of W * N grey pixels. Failures are `ValueError` with the reason.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic, and BigTIFF with 43 = "+"
# Tags
WIDTH = 256
HEIGHT = 257
BITS = 258
COMPRESSION = 259
PHOTOMETRIC = 262
FILL_ORDER = 266
OFFSETS = 273
ORIENTATION = 274
SAMPLES = 277
ROWS = 278
COUNTS = 279
PLANAR = 284
PREDICTOR = 317
TILE_WIDTH = 322
TILE_HEIGHT = 323
TILE_OFFSETS = 324
TILE_COUNTS = 325
EXTRA = 338
FORMAT = 339

LONG_TAGS = (WIDTH, HEIGHT, OFFSETS, ROWS, COUNTS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS)
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q"}  # the integer types; no other tag is needed
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}  # photometric interpretation -> samples that are colour
DEFLATE, STRIP_BYTES = 8, 1 << 18
PACKED_SAFELY = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate, packbits, LZMA, zstd: do not look at pixels


@dataclass(frozen=True)
class Page:
    """What the first page of a TIFF says about itself."""

    tags: dict[int, tuple[int, ...]]
    order: str  # "<" or ">"
    pages: int

    def get(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored, before the orientation is applied."""
        return self.get(WIDTH, 0), self.get(HEIGHT, 0)

    @property
    def samples(self) -> int:
        return self.get(SAMPLES, 1)

    @property
    def alpha(self) -> bool:
        """Whether the last sample is opacity: marked so, or the only one beyond the colours and not marked, as OpenCV does."""
        if EXTRA in self.tags:
            return self.samples > 1 and self.tags[EXTRA][-1] in (1, 2)
        return self.samples == COLOURS.get(self.get(PHOTOMETRIC, 1), self.samples) + 1

    @property
    def dtype(self) -> np.dtype:
        """The type of one sample in the byte order of this machine."""
        kind = {1: "u", 2: "i", 3: "f"}.get(self.get(FORMAT, 1), "u")
        bits = self.get(BITS, 1)
        if bits not in (8, 16, 32, 64) or (kind, bits) == ("f", 8) or len(set(self.tags.get(BITS, ()))) > 1:
            raise ValueError(f"a TIFF with {bits} bits per sample is not supported")
        return np.dtype(f"{kind}{bits // 8}")


def first_page(file: BinaryIO) -> Page:
    """Read the tags of the first page and count the pages."""
    head = file.read(16)
    if head[:4] not in MAGIC:
        raise ValueError("not a TIFF")
    order = "<" if head[:2] == b"II" else ">"
    big = b"+" in head[2:4]
    (position,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    first: dict[int, tuple[int, ...]] | None = None
    seen: set[int] = set()
    while position and position not in seen:
        seen.add(position)
        tags, position = _directory(file, position, order, big, skip=first is not None)
        first = tags if first is None else first
    if not first or min(first.get(WIDTH, (0,))[0], first.get(HEIGHT, (0,))[0]) < 1:
        raise ValueError("the TIFF has no picture in it")
    return Page(first, order, len(seen))


def samples(data: bytes, page: Page) -> np.ndarray:
    """Decode the first page. Returns (H, W, N) of `page.dtype`, all samples in the order of the file, values untouched."""
    segments = _segments(data, page)
    if page.get(COMPRESSION, 1) not in PACKED_SAFELY:
        raise ValueError(f"TIFF compression {page.get(COMPRESSION, 1)} is not supported for this kind of picture")
    if page.get(PLANAR, 1) == 2 and page.samples > 1:
        share = len(segments) // page.samples
        planes = [_grey(page, segments[i * share : (i + 1) * share], 1) for i in range(page.samples)]
        return np.stack(planes, axis=2)
    rows = _grey(page, segments, page.samples)
    return rows.reshape(rows.shape[0], -1, page.samples)


def encode(array: np.ndarray, alpha: bool) -> bytes:
    """A classic TIFF, deflated. array: (H, W, N) of uint8, uint16 or float32; `alpha` says that the last sample is opacity."""
    height, width, count = array.shape
    if array.nbytes > 0xF0000000:
        raise ValueError("a TIFF cannot hold more than 4 GB")
    rgb = count - alpha == 3
    floats = array.dtype.kind == "f"
    rows = max(1, STRIP_BYTES // (array.nbytes // height))
    flat = array.reshape(height, -1) if floats else _differences(array).reshape(height, -1)
    strips = [zlib.compress(flat[y : y + rows].astype(flat.dtype.newbyteorder("<")).tobytes()) for y in range(0, height, rows)]
    extra = count - (3 if rgb else 1)
    tags = {
        WIDTH: [width],
        HEIGHT: [height],
        BITS: [array.dtype.itemsize * 8] * count,
        COMPRESSION: [DEFLATE],
        PHOTOMETRIC: [2 if rgb else 1],
        SAMPLES: [count],
        ROWS: [rows],
        PLANAR: [1],
        PREDICTOR: [1 if floats else 2],
        FORMAT: [3 if floats else 1] * count,
        **({EXTRA: [0] * (extra - alpha) + [2] * alpha} if extra else {}),
    }
    return _container("<", tags, strips, OFFSETS, COUNTS)


def _directory(file: BinaryIO, position: int, order: str, big: bool, skip: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """The integer tags of the directory at `position`, and where the next one is (0: nowhere). `skip` leaves out the tags."""
    size, word = (20, "Q") if big else (12, "I")
    file.seek(position)
    (count,) = _unpack(file, order + ("Q" if big else "H"))
    if count > 4096:
        raise ValueError("the TIFF directory is damaged")
    entries = file.read(count * size)
    (following,) = _unpack(file, order + word)
    tags = {} if skip else dict(_entries(file, entries, order, size, word))
    return tags, following


def _entries(file: BinaryIO, entries: bytes, order: str, size: int, word: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    inline = size // 2 - 2  # 4 bytes, or 8 in a BigTIFF
    for start in range(0, len(entries) - size + 1, size):
        tag, kind, count = struct.unpack_from(order + "HH" + word, entries, start)
        if kind not in TYPES or not 0 < count < 1 << 24:
            continue
        form = f"{order}{count}{TYPES[kind]}"
        value = entries[start + size - inline : start + size]
        if struct.calcsize(form) > inline:
            file.seek(struct.unpack(order + word, value)[0])
            yield tag, _unpack(file, form)
        else:
            yield tag, struct.unpack_from(form, value)


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise ValueError("the TIFF is cut short")
    return struct.unpack(form, data)


def _segments(data: bytes, page: Page) -> list[bytes]:
    """The packed strips or tiles in the order of the file."""
    tiled = TILE_OFFSETS in page.tags
    offsets = page.tags.get(TILE_OFFSETS if tiled else OFFSETS, ())
    sizes = page.tags.get(TILE_COUNTS if tiled else COUNTS, ())
    if not offsets or len(offsets) != len(sizes) or max(o + n for o, n in zip(offsets, sizes, strict=True)) > len(data):
        raise ValueError("the TIFF is cut short or damaged")
    return [data[o : o + n] for o, n in zip(offsets, sizes, strict=True)]


def _grey(page: Page, segments: list[bytes], each: int) -> np.ndarray:
    """Decode segments whose pixels have `each` samples as grey rows. Returns (H, W * each), the predictor undone."""
    (width, height), dtype = page.size, page.dtype
    block, tall = (page.get(TILE_WIDTH, 0), page.get(TILE_HEIGHT, 0)) if TILE_OFFSETS in page.tags else (width, 0)
    if block < 1 or block * each * max(tall, 1) * dtype.itemsize > 1 << 29:
        raise ValueError("the TIFF has tiles of an impossible size")
    across = -(-width // block) * block * each  # whole tiles: a predictor needs the part outside the picture too
    predictor = page.get(PREDICTOR, 1)
    tags = {
        WIDTH: [across],
        HEIGHT: [height],
        BITS: [dtype.itemsize * 8],
        COMPRESSION: [page.get(COMPRESSION, 1)],
        PHOTOMETRIC: [1],
        FILL_ORDER: [page.get(FILL_ORDER, 1)],
        SAMPLES: [1],
        FORMAT: [3 if dtype.itemsize > 2 else 1],  # 4 and 8 bytes pass through OpenCV as floats, bits untouched
        PREDICTOR: [1 if each > 1 else predictor],
    }
    if tall:
        tags |= {TILE_WIDTH: [block * each], TILE_HEIGHT: [tall]}
    else:
        tags |= {ROWS: [min(page.get(ROWS, height), height)]}
    if tall and page.get(COMPRESSION, 1) == 1:  # OpenCV refuses tiles that are not packed at all
        tags[COMPRESSION], segments = [DEFLATE], [zlib.compress(segment, 0) for segment in segments]
    where = (TILE_OFFSETS, TILE_COUNTS) if tall else (OFFSETS, COUNTS)
    packed = np.frombuffer(_container(page.order, tags, segments, *where), np.uint8)
    rows = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
    if rows is None or rows.shape != (height, across) or rows.dtype.itemsize != dtype.itemsize:
        raise ValueError("the TIFF is damaged, or packed in a way that is not supported")
    if each > 1 and predictor > 1:
        blocks = rows.reshape(height, across // (block * each), block, each)
        rows = (_sums(blocks) if predictor == 2 else _float_sums(blocks, page.order)).reshape(height, across)
    return rows.view(dtype)[:, : width * each]


def _differences(array: np.ndarray) -> np.ndarray:
    """Predictor 2: every sample minus its left neighbour of the same channel, wrapping around. array: (H, W, N)."""
    return np.concatenate([array[:, :1], array[:, 1:] - array[:, :-1]], axis=1)


def _sums(blocks: np.ndarray) -> np.ndarray:
    """Undo predictor 2 on blocks: (H, blocks, W, N). Sums wrap around like the differences did."""
    whole = blocks.view(f"u{blocks.dtype.itemsize}")
    return np.cumsum(whole, axis=2, dtype=whole.dtype).view(blocks.dtype)


def _float_sums(blocks: np.ndarray, order: str) -> np.ndarray:
    """Undo predictor 3 (Adobe TIFF technote 3): the bytes of a row stand in planes, highest first, as differences."""
    height, number, width, each = blocks.shape
    size = blocks.dtype.itemsize
    stored = blocks.astype(np.dtype(f"{order}f{size}"))  # the decoder has swapped what was only bytes
    planes = stored.view(np.uint8).reshape(height, number, -1, each).cumsum(axis=2, dtype=np.uint8)
    planes = planes.reshape(height, number, size, width * each)
    values = np.ascontiguousarray(planes.swapaxes(2, 3)).view(f">f{size}")
    return values.astype(f"f{size}").reshape(blocks.shape)


def _container(order: str, tags: dict[int, list[int]], segments: list[bytes], offsets: int, counts: int) -> bytes:
    """A classic TIFF around packed segments: the header, the segments, the values that need room, the directory."""
    body = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    places = []
    for segment in segments:
        places.append(len(body))
        body += segment + bytes(len(segment) % 2)
    entries = []
    for tag, values in sorted((tags | {offsets: places, counts: [len(s) for s in segments]}).items()):
        kind = 4 if tag in LONG_TAGS else 3
        value = struct.pack(f"{order}{len(values)}{TYPES[kind]}", *values)
        if len(value) > 4:
            value, place = struct.pack(order + "I", len(body)), value
            body += place + bytes(len(place) % 2)
        entries.append(struct.pack(order + "HHI", tag, kind, len(values)) + value.ljust(4, b"\0"))
    struct.pack_into(order + "I", body, 4, len(body))
    return bytes(body + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4))
