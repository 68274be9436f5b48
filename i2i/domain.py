"""What the values on one side of a translation are, and the way from pictures to [-1, 1] tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from i2i.images import OUTSIDE, ImageError, Picture, colour_ids

if TYPE_CHECKING:
    import torch

Dtype = Literal["uint8", "uint16", "float32"]
Byte = Annotated[int, Field(ge=0, le=255)]
Palette = tuple[tuple[Byte, Byte, Byte], ...]
TOP = {"uint8": 255, "uint16": 65535, "float32": 1}
BITS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}
LUMA = (19595, 38470, 7471)  # BT.601 in parts of 65536, Pillow's integers


def words(dtype: str, channels: int) -> str:
    """Such as "8-bit colour"."""
    return f"{BITS[dtype]} " + {1: "grey", 3: "colour"}.get(channels, f"with {channels} channels")


class Domain(BaseModel):
    """Channels, type and range: `low` becomes -1 and `high` becomes +1.

    A label map becomes one-hot, in {0, 1}: class n is channel n, and what is unlabelled is one more channel, the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1)
    dtype: Dtype = "uint8"
    low: float = 0.0
    high: float
    labels: bool = False
    """Whether the values are the ids of classes. Then `channels` counts the classes, and what is unlabelled as one more."""
    void: tuple[int, ...] = ()
    """The ids that mean "unlabelled"."""
    palette: Palette | None = None
    """The colours of the classes, in order, where the files show colours; any other colour is unlabelled."""
    instances: bool = False
    """Whether the ids of single things come beside the label map."""

    @classmethod
    def of(cls, channels: int, dtype: Dtype = "uint8") -> Domain:
        """The full range of an integer type, 0 to 1 for floats."""
        return cls(channels=channels, dtype=dtype)  # type: ignore[call-arg]

    @model_validator(mode="before")
    @classmethod
    def _full_range(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {"high": TOP.get(values.get("dtype", "uint8"), 0), **values}
        return values

    @model_validator(mode="after")
    def _range_fits_the_type(self) -> Domain:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        if self.dtype != "float32":
            top = TOP[self.dtype]
            if self.low < 0 or self.high > top or self.low % 1 or self.high % 1:
                raise ValueError(f"low and high of {self.dtype} must be whole numbers from 0 to {top}")
        return self

    @model_validator(mode="after")
    def _labels_make_sense(self) -> Domain:
        if not self.labels and (self.void or self.palette is not None or self.instances):
            raise ValueError("void, palette and instances are for label maps, so they need labels: true")
        if self.classes < 1:
            raise ValueError("a label map needs a channel for a class beside the one for void")
        if self.palette is not None and (len(set(self.palette)) < len(self.palette) or self.classes != len(self.palette)):
            raise ValueError("a palette needs one colour for each class, and no colour twice")
        return self

    @property
    def unlabelled(self) -> bool:
        """Whether the last channel is that of what is unlabelled."""
        return bool(self.void) or (self.palette is not None and self.channels > len(self.palette))

    @property
    def classes(self) -> int:
        """The channels less that one."""
        return self.channels - self.unlabelled

    def __str__(self) -> str:
        """Such as "8-bit colour", and the range where the type does not say it."""
        if self.labels:
            beside = ", with instances" if self.instances else ""
            return f"label map of {self.classes} classes{' (+ void)' if self.unlabelled else ''}{beside}"
        return words(self.dtype, self.channels) + (f", {self.low:g} to {self.high:g}" if self.dtype == "float32" else "")

    def conform(self, picture: Picture) -> np.ndarray:
        """The picture's values as this domain has them, without alpha. Returns (H, W, channels) in `dtype`, clipped.

        Of a label map: `positions`, (H, W, 1).
        """
        if self.labels:
            return self.positions(self.ids(picture))
        values = self.converted(picture)
        if (self.low, self.high) == (0, TOP[self.dtype]) and self.dtype != "float32":
            return values
        return values.clip(self.low, self.high).astype(self.dtype)

    def converted(self, picture: Picture) -> np.ndarray:
        """The same, but not clipped: what a file holds beyond `low` and `high` stays."""
        return _with_type(_with_channels(picture.array, self.channels), self)

    def ids(self, picture: Picture) -> np.ndarray:
        """The ids (H, W) that a picture of a label map holds: as they stand in its one channel, or by its colours."""
        array = picture.array
        if array.dtype.kind not in "uib" or picture.alpha is not None or array.shape[2] not in (1, 3):
            hint = "save the ids in one channel, as PNG or TIFF"
            raise ImageError("a label map holds one whole number for each pixel, without alpha", hint)
        return array[..., 0].astype(np.int64) if array.shape[2] == 1 else colour_ids(array, self.palette)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """ids: (H, W) integers, as in the files -> (H, W, 1), the channel of each, uint8 where that can count them.

        Raises ImageError with the ids that are none of the classes.
        """
        void = np.isin(ids, self.void) | (ids == OUTSIDE if self.unlabelled and self.palette else False)
        unknown = ids[~void & ((ids < 0) | (ids >= self.classes))]
        if unknown.size:
            strange = np.unique(unknown).tolist()
            what = "colours outside the palette" if self.palette and strange[0] == OUTSIDE else f"the labels {listed(strange)}"
            raise ImageError(
                f"it has {what}, and the classes are 0 to {self.classes - 1}",
                "change them to classes that the model knows, or train it with more (data.classes) or with these as data.void",
            )
        kind = np.uint8 if self.channels <= 256 else np.int32  # torch cannot index by uint16
        return np.where(void, self.channels - 1, ids).astype(kind)[..., None]

    def to_float(self, values: torch.Tensor) -> torch.Tensor:
        """values: any shape, of `dtype` or float, on any device. Returns float32 in [-1, 1].

        Of a label map: `positions`, (B, 1, H, W). Returns (B, channels, H, W) float32 in {0, 1}.
        """
        import torch

        if self.labels:
            batch, channels, height, width = values.shape
            if channels != 1:
                raise ValueError(f"a label map has one channel before it is one-hot, not {channels}")
            one_hot = torch.zeros(batch, self.channels, height, width, device=values.device)
            return one_hot.scatter_(1, values.long(), 1.0)
        scaled = values.to(torch.float32, copy=True)  # a copy of our own, so that the rest can work in place
        return scaled.sub_(self.low).mul_(2).div_(self.high - self.low).sub_(1)

    def to_array(self, image: torch.Tensor, dtype: Dtype | None = None) -> np.ndarray:
        """image: (C, H, W), clamped to [-1, 1]. Returns (H, W, C), rounded, in `dtype` or in the other type asked for."""
        import torch

        kind = dtype or self.dtype
        low, high = self.range_in(kind)
        values = (image.detach().to(torch.float32).clamp(-1, 1) + 1) / 2 * (high - low) + low
        if kind != "float32":
            values = values.round().to(getattr(torch, kind))
        return values.permute(1, 2, 0).contiguous().cpu().numpy()

    def range_in(self, dtype: Dtype) -> tuple[float, float]:
        """`low` and `high` in another type: integers scale by their full range, floats keep the numbers of the integers."""
        if dtype in (self.dtype, "float32"):
            return self.low, self.high
        if self.dtype == "float32":
            return 0.0, float(TOP[dtype])
        scale = TOP[dtype] / TOP[self.dtype]
        return self.low * scale, self.high * scale


def listed(ids: Sequence[int], most: int = 8) -> str:
    """Such as "34, 35 and 40", or "34, 35, 36 and 17 more"."""
    shown = [str(i) for i in ids[:most]]
    if len(ids) > most:
        return f"{', '.join(shown)} and {len(ids) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _with_channels(array: np.ndarray, channels: int) -> np.ndarray:
    """Grey to colour by repetition, colour to grey by its luma; nothing else has one right answer."""
    found = array.shape[2]
    if found == channels:
        return array
    if found == 1 and channels == 3:
        return np.repeat(array, 3, axis=2)
    if found == 3 and channels == 1:
        return luma(array)
    raise ImageError(
        f"the image has {found} channels, {channels} are expected", "save the wanted channels as a file of their own"
    )


def luma(array: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 brightness, for uint8 to the bit what Pillow calls L. array: (H, W, 3). Returns (H, W, 1), same type."""
    if array.dtype.kind == "f":
        return (array @ (np.array(LUMA, np.float32) / 65536))[..., None]
    total = array.astype(np.uint64) @ np.array(LUMA, np.uint64)
    return ((total + 0x8000) >> 16).astype(array.dtype)[..., None]


def _with_type(array: np.ndarray, domain: Domain) -> np.ndarray:
    """Change the type: integers by their full scale, integers to floats from full scale to `low` and `high`."""
    found, wanted = array.dtype.name, domain.dtype
    if found == wanted:
        return array
    if found == "float32":
        raise ImageError(
            f"the image has float values, {wanted} is expected",
            f"its scale is not known: save it as {wanted} first",
        )
    if wanted == "float32":
        share = array.astype(np.float32) / TOP[found]
        return share * np.float32(domain.high - domain.low) + np.float32(domain.low)
    if wanted == "uint16":
        return array.astype(np.uint16) * 257
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
