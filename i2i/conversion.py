"""From a picture to what a network takes, and back: depth, channels, alpha and size stay those of the picture."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor

from i2i.decoders import Metadata
from i2i.domain import TOP, Domain, Dtype, luma
from i2i.encoders import TIFF, Format
from i2i.errors import UserError
from i2i.images import ImageError, Picture

if TYPE_CHECKING:
    from torch import Tensor

    from i2i.method import Accepts


@dataclass(frozen=True)
class Alpha:
    """What becomes of transparency: it is kept where that is possible, or dropped, or flattened onto a `colour`."""

    keeps: bool = True
    colour: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> "Alpha":
        """Of "keep", "drop", "flatten" (onto white) or "flatten:COLOUR", a name or "#a0b1c2". Raises UserError."""
        what, _, colour = text.partition(":")
        if text in ("keep", "drop"):
            return cls(keeps=text == "keep")
        try:
            if what == "flatten":
                return cls(colour=ImageColor.getrgb(colour or "white")[:3])
        except ValueError:
            pass
        raise UserError(f"'{text}' is nothing that alpha can become", "keep, drop, flatten, flatten:grey or flatten:#a0b1c2")

    def of(self, picture: Picture) -> Picture:
        """The picture with what shall become of its alpha."""
        if picture.alpha is None or (self.keeps and not self.colour):
            return picture
        if self.colour:
            return replace(picture, array=_over(picture.array, picture.alpha, self.colour), alpha=None)
        return replace(picture, alpha=None)


KEPT = Alpha()


@dataclass(frozen=True, eq=False)
class Padded:
    """values: (H, W, C) in the type and range of `scale`, padded; the picture lies at [rows, columns] in them.

    `dtype` is what the result will have; alpha, if kept, has it already.
    """

    values: np.ndarray
    scale: Domain
    rows: slice
    columns: slice
    dtype: Dtype
    alpha: np.ndarray | None
    notes: tuple[str, ...]
    metadata: Metadata | None = None

    @property
    def kind(self) -> tuple:
        """Pictures of one kind can share a batch."""
        return self.values.shape, self.scale, self.dtype


def prepare(picture: Picture, x: Domain, y: Domain, accepts: "Accepts", file: Format = TIFF) -> Padded:
    """Ready for the network, for a result that `file` can hold. Raises ImageError where channels or types do not fit x."""
    if x.labels:
        return prepare_ids(x.ids(picture), x, y, accepts)
    dtype, notes = _dtype(picture, y, file)
    alpha, words = _alpha(picture, dtype, file)
    metadata, lost = _metadata(picture, file)
    scale = _scale(x, picture.dtype)
    values, rows, columns = padded(scale.conform(picture), accepts)
    return Padded(values, scale, rows, columns, dtype, alpha, (*picture.notes, *notes, *words, *lost), metadata)


def prepare_ids(ids: np.ndarray, x: Domain, y: Domain, accepts: "Accepts") -> Padded:
    """The same for a label map. ids: (H, W) integers, as in its file. Raises ImageError with the ids that are no class of x."""
    values, rows, columns = padded(x.positions(ids), accepts)
    return Padded(values, x, rows, columns, y.dtype, None, ())


def padded(values: np.ndarray, accepts: "Accepts") -> tuple[np.ndarray, slice, slice]:
    """values: (H, W, C), mirrored at the borders to a size that the network takes; and the rows and columns they have there."""
    height, width = values.shape[:2]
    (above, below), (left, right) = padding(height, accepts), padding(width, accepts)
    if above + below + left + right:
        # numpy mirrors again and again where the picture is smaller than the padding, and repeats a single pixel
        values = np.pad(values, ((above, below), (left, right), (0, 0)), mode="reflect")
    return values, slice(above, above + height), slice(left, left + width)


def finish(padded: Padded, image: "Tensor | np.ndarray", y: Domain) -> Picture:
    """A picture of the size that came in; image: (C, H, W), what the network made of the padded values.

    Of an array (H, W, C) the values are those of the picture already.
    """
    if isinstance(image, np.ndarray):
        return Picture(image, padded.alpha, padded.notes, padded.metadata)
    if not image.isfinite().all():
        raise ImageError("the model's output has values that are not finite", "try --precision fp32; or an earlier checkpoint")
    array = y.to_array(image[:, padded.rows, padded.columns], padded.dtype)
    return Picture(array, padded.alpha, padded.notes, padded.metadata)


def padding(side: int, accepts: "Accepts") -> tuple[int, int]:
    """How much to add before and after a side, in pixels.

    On both sides alike: then no invented pixel is farther than half the padding from the real one that it mirrors.
    """
    wanted = max(side, accepts.smallest)
    extra = wanted + -wanted % accepts.stride - side
    return extra // 2, extra - extra // 2


def as_picture(source: "Image.Image | np.ndarray | Picture", x: Domain) -> Picture:
    """A picture from Pillow's or numpy's. A second or fourth channel that x does not have is alpha."""
    if isinstance(source, Picture):
        return source
    array = _from_pillow(source) if isinstance(source, Image.Image) else np.asarray(source)
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.ndim != 3 or not array.size or array.dtype.name not in ("uint8", "uint16", "float32"):
        raise ImageError(
            f"an array of {array.dtype.name} with the shape {array.shape} is no image",
            "(H, W) or (H, W, C) of uint8, uint16 or float32",
        )
    if array.shape[2] in (2, 4) and array.shape[2] != x.channels:
        return Picture(array[..., :-1], array[..., -1])
    return Picture(array)


def as_ids(source: "Image.Image | np.ndarray | Picture", x: Domain) -> np.ndarray:
    """The ids (H, W) in Pillow's or numpy's label map; of palette indices the indices, unless x goes by colours."""
    if isinstance(source, Picture):
        return x.ids(source)
    if isinstance(source, Image.Image):
        source = np.asarray(source.convert("RGB") if source.mode == "P" and x.palette else source)
    array = np.asarray(source)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise ImageError(f"an array of the shape {array.shape} is no label map", "(H, W), or (H, W, 1), of integers")
    return x.ids(Picture(array))


def _from_pillow(image: Image.Image) -> np.ndarray:
    """As it stands: who opened it has decided about its EXIF orientation."""
    if image.mode.startswith("I"):
        return np.asarray(image).clip(0, 65535).astype(np.uint16)
    if image.mode not in ("L", "LA", "RGB", "RGBA", "F"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)


def _scale(x: Domain, found: str) -> Domain:
    """The x side, or the same range in 16 bits for a 16-bit picture, which would lose its depth in 8."""
    if (x.dtype, found) != ("uint8", "uint16"):
        return x
    return Domain(channels=x.channels, dtype="uint16", low=x.low * 257, high=x.high * 257)


def _dtype(picture: Picture, y: Domain, file: Format) -> tuple[Dtype, tuple[str, ...]]:
    """The deeper of the picture's and y's; but floats in say nothing about the scale of integers out."""
    if (picture.dtype, y.dtype) != ("uint16", "uint8"):
        return y.dtype, ()
    if "uint16" in file.dtypes:
        return "uint16", ()
    return "uint8", (f"16 bits became 8, since {file.name} holds no more",)


def _alpha(picture: Picture, dtype: Dtype, file: Format) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The picture's alpha in another type, where the file can hold one."""
    if picture.alpha is None:
        return None, ()
    if not file.alpha:
        return None, (f"alpha dropped, since {file.name} has none",)
    if picture.dtype == "float32" != dtype:
        return None, ("alpha dropped, since its scale is not known",)
    return Domain.of(1, dtype).conform(Picture(picture.alpha[..., None]))[..., 0], ()


def _over(array: np.ndarray, alpha: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """The pixels as they look in front of a colour. array: (H, W, 1 or 3); alpha: (H, W); both of one integer type."""
    channels = array.shape[2]
    if array.dtype.kind == "f" or channels not in (1, 3):
        raise ImageError("only 8 or 16-bit grey or colour can be flattened onto a colour", "--alpha keep or drop")
    top = TOP[array.dtype.name]
    shown = np.array(colour, np.uint8).reshape(1, 1, 3)
    behind = (luma(shown) if channels == 1 else shown) * (top / 255)
    share = alpha[..., None] / top
    return np.rint(array * share + behind * (1 - share)).astype(array.dtype)


def _metadata(picture: Picture, file: Format) -> tuple[Metadata | None, tuple[str, ...]]:
    found = picture.metadata
    if not found or found == Metadata():
        return None, ()
    return (found, ()) if file.metadata else (None, (f"EXIF and ICC profile dropped, since none is written to {file.name}",))
