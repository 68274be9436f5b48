"""What is inside an image file: its description, without decoding, and its pixels, upright.

8-bit files go through Pillow, deeper ones through OpenCV and `i2i.tiff`, because Pillow clips or truncates 16-bit colour.
Failures may be of any type; `i2i.images` turns them into `ImageError`s that name the file.
"""

import io
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from i2i import tiff
from i2i.errors import UserError

NAMES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}
NAMES |= {".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM"}
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "F")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
ORIENTATION = 0x0112
TOO_LARGE = "--max-pixels allows more, where there is memory for it"

# What the libraries print about damaged files would mix with what we say about them.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(UserError):
    """A file that cannot be read or written as an image. The message names it."""


@dataclass(frozen=True)
class Header:
    """What a file says about its picture, as `read` will return it: size upright, alpha not among the channels."""

    width: int
    height: int
    channels: int
    dtype: str  # "uint8", "uint16" or "float32"
    format: str  # "PNG", "JPEG", ...: the content's, not the suffix's
    alpha: bool
    frames: int
    orientation: int  # 1 to 8, as stored; EXIF numbers


@dataclass(frozen=True)
class Metadata:
    """What else is in a file: its EXIF without what upright pixels contradict, and its ICC profile, as bytes."""

    exif: bytes = b""
    icc: bytes = b""

    def icc_for(self, channels: int) -> bytes:
        """The profile, where it is one for grey or colour as the pixels are (ICC.1, 7.2.6: bytes 16 to 19)."""
        return self.icc if self.icc[16:20] == {1: b"GRAY", 3: b"RGB "}.get(channels) else b""


def describe(file: BinaryIO, max_pixels: int) -> Header:
    """Read the header, and refuse what is too large before it costs memory or time."""
    head = file.read(64)
    file.seek(0)
    found = _tiff_header(file) if head[:4] in tiff.MAGIC else _pillow_header(file, head, max_pixels)
    if found.width * found.height * max(found.channels, 4) > max_pixels * 4:  # many channels count too
        raise ImageError(
            f"it has {found.width}x{found.height} pixels of {found.channels} channels, over {max_pixels / 1e6:g} megapixels",
            TOO_LARGE,
        )
    return found


def _tiff_header(file: BinaryIO) -> Header:
    page = tiff.first_page(file)
    width, height = page.size
    orientation = page.get(tiff.ORIENTATION, 1)
    photometric = page.get(tiff.PHOTOMETRIC, 1)
    if _for_pillow(page):
        channels, dtype = (1 if photometric in (0, 1) else 3), "uint8"
    else:
        channels, dtype = page.samples - page.alpha, _kept_type(page.dtype)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Header(width, height, channels, dtype, "TIFF", page.alpha, page.pages, orientation)


def _pillow_header(file: BinaryIO, head: bytes, max_pixels: int) -> Header:
    image = _open(file, head, max_pixels)
    width, height = image.size
    # A PNG can hide its orientation behind the pixels; looking there would mean to decode it.
    orientation = 1 if image.format == "PNG" and "exif" not in image.info else image.getexif().get(ORIENTATION, 1)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    format = "JPEG" if image.format == "MPO" else image.format or ""
    frames = 1 if format == "JPEG" else getattr(image, "n_frames", 1)  # more pictures in a JPEG are previews of a phone
    if format == "WEBP" and max(width, height) > 16383:  # no encoder can make one, and libwebp needs minutes to find out
        raise ImageError("the file is damaged", "copy or download it again")
    alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    dtype = "float32" if image.mode == "F" else "uint8" if _top(image, head) <= 255 else "uint16"
    # Pillow opens 16-bit grey with alpha as RGBA
    grey = image.mode in GREY_MODES or (format == "PNG" and head[25] == 4)
    return Header(width, height, 1 if grey else 3, dtype, format, alpha, frames, orientation)


def _open(file: BinaryIO, head: bytes, max_pixels: int) -> ImageFile.ImageFile:
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)  # Pillow's own guard must not be the stricter one
    try:
        return Image.open(file, formats=sorted(set(NAMES.values())))
    except UnidentifiedImageError:
        raise _unknown(head) from None
    except Image.DecompressionBombError:
        raise ImageError(f"it has far over {max_pixels / 1e6:g} megapixels", TOO_LARGE) from None


def _top(image: ImageFile.ImageFile, head: bytes) -> int:
    """The number that means full brightness in the file; of what is not 16-bit, only that it is at most 255."""
    if image.format == "PNG":
        return 65535 if head[24] == 16 else 255
    if image.format == "PPM" and image.mode != "F":
        arguments = image.tile[0][3]
        return arguments[1] if isinstance(arguments, tuple) else 65535 if image.mode == "I" else 255
    return 255


def _for_pillow(page: tiff.Page) -> bool:
    """Whether this TIFF is of a kind that only Pillow unpacks: under 8 bits, CMYK, YCbCr, LAB, a palette, JPEG, fax."""
    photometric, packing = page.get(tiff.PHOTOMETRIC, 1), page.get(tiff.COMPRESSION, 1)
    special = page.get(tiff.BITS, 1) < 8 or photometric > 2 or packing not in tiff.PACKED_SAFELY
    known = page.samples == tiff.COLOURS.get(photometric, 0) + page.alpha
    return special and known and page.get(tiff.BITS, 1) <= 8 and page.get(tiff.FORMAT, 1) == 1


def _kept_type(dtype: np.dtype) -> str:
    return dtype.name if dtype in (np.uint8, np.uint16) else "float32"


def _unknown(head: bytes) -> ImageError:
    """Why these first bytes are no image that can be read."""
    start = head.lstrip().lower()
    if not head:
        return ImageError("the file is empty", "copy or download it again")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return ImageError("it is a web page or other markup, not an image", "check the address it was downloaded from")
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return ImageError("HEIC images are not supported", "convert them to PNG first, for example with pillow-heif")
    return ImageError("it is not an image of a known kind", f"known are {' '.join(NAMES)}")


Pixels = tuple[np.ndarray, np.ndarray | None, list[str]]  # (H, W, C), alpha (H, W), notes


def pixels(data: bytes, found: Header) -> Pixels:
    """Decode a file that `describe` has described. Alpha is (H, W); the notes say what was converted."""
    if found.format == "TIFF":
        page = tiff.first_page(io.BytesIO(data))
        if _for_pillow(page):
            return _pillow_pixels(data)  # Pillow turns TIFFs, and nothing else, on its own
        array, alpha, notes = _deep_tiff(data, page)
    elif found.dtype == "uint16":
        array, alpha, notes = _deep_png(data, found) if found.format == "PNG" else _deep_ppm(data, found)
    else:
        array, alpha, notes = _pillow_pixels(data)
    return _upright(array, found.orientation), None if alpha is None else _upright(alpha, found.orientation), notes


LOSSY = ("JPEG", "WEBP")
ONE_NUMBER = "save it as PNG or TIFF with one number for each pixel"


def indices(data: bytes, found: Header, *, by_colour: bool) -> np.ndarray:
    """The whole numbers of a label or instance map, (H, W), of any integer type; or, `by_colour`, (H, W, 3) uint8 for colours.

    What a file of palette indices shows is its colours only where they are asked for.
    """
    if found.format in LOSSY:
        raise ImageError(f"{found.format} does not keep ids as they are", f"{ONE_NUMBER}, from the original")
    if found.format == "TIFF" and not _for_pillow(page := tiff.first_page(io.BytesIO(data))):
        ids = _upright(tiff.samples(data, page), found.orientation)
        ids = ids[..., 0] if ids.shape[2] == 1 else ids
    else:
        ids = _pillow_indices(data, by_colour)
        ids = ids if found.format == "TIFF" else _upright(ids, found.orientation)
    if ids.ndim == 3 and (ids.shape[2] != 3 or found.alpha):
        raise ImageError("it has alpha or other channels beside its ids", ONE_NUMBER)
    if ids.dtype.kind == "f" or (ids.ndim == 3 and found.dtype != "uint8"):
        raise ImageError(f"{found.dtype} {'colours' if ids.ndim == 3 else 'values'} are no ids", ONE_NUMBER)
    return ids


def _pillow_indices(data: bytes, by_colour: bool) -> np.ndarray:
    Image.open(io.BytesIO(data)).verify()
    image = Image.open(io.BytesIO(data))
    if image.format == "PPM" and (top := _top(image, data)) not in (255, 65535):
        raise ImageError(f"its values go up to {top}, and readers stretch them", ONE_NUMBER)
    image.load()
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB"):
        raise ImageError(f"{image.mode} pixels are no ids", ONE_NUMBER)
    return np.asarray(image.convert("RGB") if image.mode == "P" and by_colour else image)


def metadata_in(data: bytes) -> Metadata:
    """What a file that has been decoded holds beside its pixels, as far as it is sound."""
    try:
        image = Image.open(io.BytesIO(data))
        return Metadata(_kept_exif(image), image.info.get("icc_profile") or b"")
    except Exception:  # damaged metadata raises nearly anything, and the pixels are good without
        return Metadata()


DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298)
"""The tags beside EXIF's own that tell about a picture, and not how its file is laid out: what, with what, when, by whom."""
EXIF, GPS, SIDES = 0x8769, 0x8825, (0xA002, 0xA003)


def _kept_exif(image: Image.Image) -> bytes:
    """Without orientation, thumbnail and size: pixels are upright now, and others."""
    stored, kept = image.getexif(), Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in stored:
            kept[tag] = stored[tag]
    for block in (EXIF, GPS):
        kept.get_ifd(block).update({tag: value for tag, value in stored.get_ifd(block).items() if tag not in SIDES})
    return kept.tobytes() if kept or kept.get_ifd(EXIF) or kept.get_ifd(GPS) else b""


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror (H, W, ...) from how it is stored to how it is meant; EXIF 2.32, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _pillow_pixels(data: bytes) -> Pixels:
    Image.open(io.BytesIO(data)).verify()  # finds broken check sums that load() lets pass
    stored = Image.open(io.BytesIO(data))
    stored.load()
    image, notes = _plain(stored)
    array = np.asarray(image, np.float32 if image.mode == "F" else np.uint8)
    array = array.reshape(image.height, image.width, -1)
    return (array[..., :-1], array[..., -1], notes) if image.mode in ALPHA_MODES else (array, None, notes)


def _plain(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The image as L, LA, RGB, RGBA or F, with a word about what was lost or made up."""
    mode, clear = image.mode, "transparency" in image.info
    if mode in ("P", "PA"):
        return image.convert("RGBA" if clear or mode == "PA" else "RGB"), ["palette expanded"]
    if mode in ("1", "L", "RGB") and clear:
        return image.convert("RGBA" if mode == "RGB" else "LA"), ["transparent colour turned into alpha"]
    if mode in ("CMYK", "LAB"):
        return _to_srgb(image)
    if mode in ("L", "LA", "RGB", "RGBA", "F"):
        return image, []
    target = {"1": "L", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    return image.convert(target), [f"{mode} converted to {target}"]


def _to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """CMYK through its own ICC profile where it has a sound one; LAB through the one that ICC defines."""
    note = f"{image.mode} converted to RGB"
    srgb, profile = ImageCms.createProfile("sRGB"), image.info.get("icc_profile")
    if image.mode == "LAB":
        return _translated(image, ImageCms.createProfile("LAB"), srgb), [note]
    try:
        if profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return _translated(image, source, srgb), [f"{note} through its ICC profile"]
    except (OSError, ImageCms.PyCMSError):
        note += ", its ICC profile is damaged"
    return image.convert("RGB"), [note]


def _translated(image: Image.Image, source: object, target: object) -> Image.Image:
    result = ImageCms.profileToProfile(image, source, target, outputMode="RGB")  # type: ignore[arg-type]
    assert result is not None  # it is for in-place work only
    return result


def _deep_png(data: bytes, found: Header) -> Pixels:
    image = Image.open(io.BytesIO(data))
    clear = image.info.get("transparency")
    image.verify()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ImageError("the file is damaged", "copy or download it again")
    if stored.ndim == 2:  # OpenCV turns a transparent colour into alpha, but not a transparent grey
        stored = np.dstack([stored, np.where(stored == clear, 0, 65535).astype(np.uint16)])
    colours = stored[..., 2::-1] if found.channels == 3 else stored[..., :1]
    return colours, stored[..., -1] if found.alpha else None, []


def _deep_ppm(data: bytes, found: Header) -> Pixels:
    image = Image.open(io.BytesIO(data))
    top, start, count = _top(image, data), image.tile[0][2], found.height * found.width * found.channels
    if data[:2] in (b"P2", b"P3"):
        values = np.array(data[start:].split()[:count], np.uint32)
    else:
        values = np.frombuffer(data[start : start + 2 * count], ">u2").astype(np.uint32)
    if len(values) < count:
        raise ImageError("the file is cut short", "copy or download it again")
    scaled = (values.clip(0, top) * 65535 + top // 2) // top  # at most 65535 * 65535 + 32767, which 32 bits hold
    notes = [] if top == 65535 else [f"values of 0 to {top} scaled to 16 bits"]
    return scaled.astype(np.uint16).reshape(found.height, found.width, -1), None, notes


def _deep_tiff(data: bytes, page: tiff.Page) -> Pixels:
    photometric = page.get(tiff.PHOTOMETRIC, 1)
    if photometric in (3, 5, 6, 8, 9):
        raise ImageError("a TIFF with palette, CMYK, YCbCr or LAB colours is read with 8 bits only", "convert it to RGB first")
    values, notes = tiff.samples(data, page), []
    if values.dtype.name != _kept_type(values.dtype):
        notes.append(f"{values.dtype.name} converted to float32")
        values = values.astype(np.float32)
    if photometric == 0 and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    if page.alpha and page.get(tiff.EXTRA, 2) == 1:
        notes.append("premultiplied alpha undone")
        values = _unmultiplied(values)
    return (values[..., :-1], values[..., -1], notes) if page.alpha else (values, None, notes)


def _unmultiplied(values: np.ndarray) -> np.ndarray:
    """Colours divided by the alpha they were multiplied with. values: (H, W, C + alpha)."""
    top = 1.0 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    share = values[..., -1:] / top
    colours = np.divide(values[..., :-1], share, out=np.zeros(values[..., :-1].shape), where=share > 0)
    if values.dtype.kind != "f":
        colours = np.rint(colours).clip(0, top)
    return np.concatenate([colours.astype(values.dtype), values[..., -1:]], axis=2)
