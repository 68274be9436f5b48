"""Files and pictures: read any image that people have, whole and as it was meant, or say why not; write it back."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from i2i import atomic
from i2i.decoders import NAMES, Header, ImageError, Metadata, describe, indices, metadata_in, pixels
from i2i.encoders import FORMATS, USUAL, Packing

SUFFIXES = frozenset(NAMES)
WRITABLE = frozenset(FORMATS)
MAX_PIXELS = 100_000_000
OUTSIDE = -1  # the id of a colour that is not in the palette
QUIET = (UnicodeError, UnidentifiedImageError)  # what these say is about our memory, not about the file


@dataclass(frozen=True, eq=False)
class Picture:
    """array: (H, W, C) of uint8, uint16 or float32; alpha: (H, W) of the same type. `notes` say what reading converted."""

    array: np.ndarray
    alpha: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    metadata: Metadata | None = None

    @property
    def height(self) -> int:
        return self.array.shape[0]

    @property
    def width(self) -> int:
        return self.array.shape[1]

    @property
    def channels(self) -> int:
        return self.array.shape[2]

    @property
    def dtype(self) -> str:
        return self.array.dtype.name

    @property
    def stacked(self) -> np.ndarray:
        """(H, W, C) with alpha, where there is one, as the last channel."""
        return self.array if self.alpha is None else np.dstack([self.array, self.alpha])

    def save(self, path: str | Path, *, quality: int | None = None) -> None:
        """Write it in the format that the suffix names. Raises ImageError for what that format cannot hold."""
        write(Path(path), self, USUAL if quality is None else Packing(quality))

    def to_pil(self) -> Image.Image:
        """The same in Pillow: L, LA, RGB or RGBA."""
        if self.dtype != "uint8" or self.channels not in (1, 3):
            raise ImageError(
                f"Pillow holds 8-bit pictures of 1 or 3 channels, this one is {_kind(self)}", "save it to a .tif, or use .array"
            )
        stacked = self.stacked
        return Image.fromarray(stacked[..., 0] if stacked.shape[2] == 1 else stacked)


def header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """What is in the file, without decoding it. Raises `ImageError` for what is no image, or has too many pixels."""
    with blaming(path), opened(path) as file:
        return describe(file, max_pixels)


def read(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, metadata: bool = False) -> Picture:
    """The whole picture in a file, or in its bytes, upright. The type is taken from the content, not from the suffix.

    With `metadata` it comes with what else is in the file.
    """
    with blaming(source), opened(source) as file:
        found = describe(file, max_pixels)
        file.seek(0)
        data = file.read()
        picture = _decoded(data, found)
        if metadata:
            picture = replace(picture, metadata=metadata_in(data))
    suffix = source.suffix if isinstance(source, Path) else ""
    if NAMES.get(suffix.lower(), found.format) == found.format:
        return picture
    return replace(picture, notes=(f"{found.format} content in a {suffix} file", *picture.notes))


def read_ids(
    source: Path | bytes, palette: Sequence[Sequence[int]] | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The whole numbers in a label or instance map, upright, (H, W) int64: grey levels or palette indices as they are stored.

    With a `palette`, colours become their position in it, and `OUTSIDE` if they have none. Raises ImageError for colours
    without a palette, alpha, floats, and formats that do not keep every value.
    """
    with blaming(source), opened(source) as file:
        found = describe(file, max_pixels)
        file.seek(0)
        stored = indices(file.read(), found, by_colour=palette is not None)
        ids = colour_ids(stored, palette) if stored.ndim == 3 else stored.astype(np.int64)
        return np.ascontiguousarray(ids)


def colour_ids(array: np.ndarray, palette: Sequence[Sequence[int]] | None) -> np.ndarray:
    """array: (H, W, 3) uint8 -> (H, W) int64, positions in the palette, `OUTSIDE` for other colours."""
    if palette is None:
        raise ImageError("it shows colours, not the ids of classes", "name them in training: --set data.palette=FILE")
    known = _packed(np.array(palette, np.int64))
    order = np.argsort(known)
    pixels = _packed(array.astype(np.int64))
    found = order[np.searchsorted(known, pixels, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[found] == pixels, found, OUTSIDE)


def _packed(colours: np.ndarray) -> np.ndarray:
    """One number for each colour. colours: (..., 3)."""
    return colours @ np.array([1 << 16, 1 << 8, 1])


def write(path: Path, picture: Picture, packing: Packing = USUAL) -> None:
    """Write what the suffix of `path` says, whole or not at all."""
    try:
        atomic.write_bytes(path, encode(picture, path.suffix, packing))
    except ImageError as error:
        raise ImageError(f"cannot write {str(path)!r}: {error.message}", error.hint) from error
    except OSError as error:
        hint = "check that the folder is there and may be written to"
        raise ImageError(f"cannot write {str(path)!r}: {error.strerror or error}", hint) from error


def encode(picture: Picture, suffix: str, packing: Packing = USUAL) -> bytes:
    """The bytes of a file with this suffix. The same picture gives the same bytes."""
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {suffix!r} files", f"use one of {' '.join(sorted(FORMATS))}")
    if picture.alpha is not None and not kind.alpha:
        raise ImageError(f"{kind.name} has no alpha channel", "write .png, .webp or .tif, or drop the alpha channel")
    if picture.dtype not in kind.dtypes:
        better = ".tif" if picture.dtype == "float32" else ".png or .tif"
        raise ImageError(f"{kind.name} cannot hold {picture.dtype} values", f"write {better}, or convert to {kind.dtypes[-1]}")
    if picture.channels not in (1, 3) and kind.name != "TIFF":
        raise ImageError(f"{kind.name} holds 1 or 3 channels, not {picture.channels}", "write .tif")
    try:
        if picture.metadata:
            packing = replace(packing, exif=picture.metadata.exif, icc=picture.metadata.icc_for(picture.channels))
        return kind.encode(picture.stacked, picture.alpha is not None, packing)
    except (OSError, ValueError, cv2.error) as error:
        hint = "write .png or .tif, which have other limits"
        raise ImageError(f"cannot encode {_kind(picture)} as {kind.name}: {error}", hint) from error


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic with antialiasing, as Pillow does it. array: (H, W, C); size: (height, width). Returns the same type."""
    height, width = size
    if array.shape[:2] == size:
        return array
    if array.dtype == np.uint8 and array.shape[2] in (1, 3, 4):
        mode = {1: "L", 3: "RGB", 4: "RGBX"}[array.shape[2]]  # in RGBA the fourth channel would weigh the others
        image = Image.frombuffer(mode, array.shape[1::-1], np.ascontiguousarray(array), "raw", mode, 0, 1)
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).reshape(height, width, -1)
    planes = [
        np.asarray(Image.fromarray(array[..., c].astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
        for c in range(array.shape[2])
    ]
    result = np.stack(planes, axis=2)
    if array.dtype.kind == "f":
        return result
    return np.rint(result).clip(0, np.iinfo(array.dtype).max).astype(array.dtype)


def nearest(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resize` for ids, which have no mean: each new pixel takes the old one under its centre, as in Pillow.

    (OpenCV's INTER_NEAREST takes the one under its corner, which shifts the map by up to half a pixel.)
    """
    if array.shape[:2] == size:
        return array
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, array.shape[:2], strict=True))
    return array[rows[:, None], columns]


# Names and messages


@contextmanager
def blaming(source: Path | bytes) -> Iterator[None]:
    """Turn every failure inside into an `ImageError` that names the file.

    Everything is caught, since the decoders raise nearly every kind of exception on damaged files.
    """
    label = f"cannot read {str(source)!r}" if isinstance(source, Path) else "cannot read the image"
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{label}: {error.message}", error.hint) from error.__cause__
    except FileNotFoundError as error:
        raise ImageError(f"{label}: there is no such file", "check the name, and that the file was not moved") from error
    except PermissionError as error:
        raise ImageError(f"{label}: permission denied", "check who owns the file and its mode") from error
    except Exception as error:
        spoken = isinstance(error, (OSError, ValueError, SyntaxError)) and not isinstance(error, QUIET)
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split()) if spoken else ""
        raise ImageError(f"{label}: {reason or 'the file is damaged'}", "open it in a viewer, or get it again") from error


@contextmanager
def opened(source: Path | bytes) -> Iterator[BinaryIO]:
    """The file for reading. Folders are refused by name, and pipes and devices before they can make us wait."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    source.stat()
    if source.is_dir():
        raise ImageError("it is a folder", "name a file in it")
    if not source.is_file():
        raise ImageError("it is not a regular file", "copy what it holds into a file first")
    with source.open("rb") as file:
        yield file


def _kind(picture: Picture) -> str:
    alpha = "" if picture.alpha is None else " with alpha"
    return f"{picture.width}x{picture.height} {picture.dtype} with {picture.channels} channels{alpha}"


def _decoded(data: bytes, found: Header) -> Picture:
    array, alpha, notes = pixels(data, found)
    if found.frames > 1:
        notes = [f"first of {found.frames} frames", *notes]
    if found.orientation in range(2, 9):
        notes = [*notes, "EXIF orientation applied"]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError("it has values that are not finite (NaN or infinity)", "replace them first")
    return Picture(np.ascontiguousarray(array), None if alpha is None else np.ascontiguousarray(alpha), tuple(notes))
