"""What of an image is changed: only what lies inside of a mask. What is outside of it stays as it was, to the bit."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i2i import images
from i2i.conversion import Alpha, as_picture
from i2i.domain import TOP, Domain, Dtype
from i2i.errors import UserError
from i2i.images import ImageError, Picture

ALPHA = "alpha"
FEATHER = 8
BLACK = Alpha(colour=(0, 0, 0))


@dataclass(frozen=True)
class Masking:
    """How what is new goes into what was there: over so many pixels, `feather`, from the edge of the mask inwards.

    `alpha`: the mask of an image is its own alpha channel; else there is one beside it.
    """

    alpha: bool = False
    feather: int = FEATHER

    def __post_init__(self) -> None:
        if self.feather < 0:
            raise UserError(f"an edge cannot be {self.feather} pixels wide", "--feather 0 is a hard one")

    @classmethod
    def of(cls, mask: Any, feather: int = FEATHER) -> "Masking | None":
        """For what a person gives as masks; of None there is none."""
        return None if mask is None else cls(isinstance(mask, str) and mask == ALPHA, feather)


@dataclass(frozen=True, eq=False)
class Paste:
    """ground: (H, W, C), what was there, as the result has it; share: (H, W) in [0, 1], how much of what is new comes in.

    `mask` is what the share was made of: where many images have one mask, the paste of one can be given as that of the next.
    """

    ground: np.ndarray
    share: np.ndarray
    mask: Any = None
    notes: tuple[str, ...] = ()

    def over(self, new: Picture) -> Picture:
        """What is new where the share is 1, the ground where it is 0, both exactly; in between a mean of both, rounded."""
        array = np.where(self.share[..., None] > 0, new.array, self.ground)
        partly = (self.share > 0) & (self.share < 1)
        share = self.share[partly][:, None].astype(np.float64)
        mean = self.ground[partly] * (1 - share) + new.array[partly] * share
        array[partly] = mean if array.dtype.kind == "f" else np.rint(mean)
        return replace(new, array=array, notes=(*new.notes, *self.notes))


def require_alike(x: Domain, y: Domain) -> None:
    """Raise UserError where pixels of the input cannot stay in the output."""
    floats = {x.dtype == "float32", y.dtype == "float32"}
    if x.labels or y.labels or x.channels != y.channels or len(floats) > 1 or x.range_in(y.dtype) != (y.low, y.high):
        raise UserError(
            f"what lies outside of a mask stays as it was, but the model makes {y} of {x}",
            "leave --mask out; it needs a model whose two sides have the same channels and range of values",
        )


def paste(picture: Picture, ground: Picture, mask: Any, masking: Masking, x: Domain, dtype: Dtype, max_pixels: int) -> Paste:
    """How the translation of a picture goes into it. `ground` is the picture with what shall become of its alpha.

    `mask` is anything that holds an image, black where nothing changes, white where everything does, or the paste of another
    picture; `dtype` is what the result has. Raises ImageError for masks that cannot be read or do not fit.
    """
    if picture.channels > x.channels:
        raise ImageError(
            f"it has {picture.channels} channels and its translation {x.channels}, so that it cannot stay outside of the mask",
            "convert it to grey first, or leave --mask out",
        )
    kept = x if dtype == "float32" else Domain.of(x.channels, dtype)
    if isinstance(mask, Paste):
        if not masking.alpha and mask.share.shape == (picture.height, picture.width):
            return replace(mask, ground=kept.converted(ground))
        mask = mask.mask
    values = _own_alpha(picture) if masking.alpha else _beside(picture, mask, max_pixels)
    full, most = TOP[values.dtype.name], values.max()
    notes = () if most >= full / 2 else (f"its mask is nowhere brighter than {most:g} of {full}, and white is {full}",)
    return Paste(kept.converted(ground), shares(values / np.float32(full), masking.feather), mask, notes)


def shares(mask: np.ndarray, feather: int) -> np.ndarray:
    """mask: (H, W) in [0, 1], 0 outside -> the same, which rises smoothly over `feather` pixels from each edge inwards.

    The border of the image is no edge.
    """
    if not feather:
        return mask
    distance = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    t = (distance / np.float32(feather + 1)).clip(0, 1)  # the outermost pixel inside is 1 away from the outside
    return mask * (t * t * (3 - 2 * t))


def _own_alpha(picture: Picture) -> np.ndarray:
    if picture.alpha is None:
        raise ImageError("it has no alpha channel, which was to be its mask", "give masks as files instead")
    return picture.alpha.clip(0, 1) if picture.dtype == "float32" else picture.alpha


def _beside(picture: Picture, mask: Any, max_pixels: int) -> np.ndarray:
    """The brightness of a mask, (H, W) in its own type. What is transparent in it counts as black."""
    if mask is None:
        raise ImageError("it has no mask", "one lies beside the others, under the name of the image")
    named = f"its mask '{mask}'" if isinstance(mask, (str, Path)) else "its mask"
    found = _read(mask, max_pixels)
    if (found.height, found.width) != (picture.height, picture.width):
        raise ImageError(
            f"it has {picture.width}x{picture.height} pixels, but {named} {found.width}x{found.height}",
            "they show the same pixels",
        )
    try:
        return Domain.of(1, found.array.dtype.name).conform(BLACK.of(found))[..., 0]  # type: ignore[arg-type]
    except ImageError as error:
        raise ImageError(f"{named} is none: {error.message}", "a mask is grey: black stays, white is translated") from error


def _read(mask: Any, max_pixels: int) -> Picture:
    if isinstance(mask, (str, Path, bytes)):
        return images.read(Path(mask) if isinstance(mask, str) else mask, max_pixels=max_pixels)
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        mask = mask.astype(np.uint8) * 255
    return as_picture(mask, Domain.of(1))
