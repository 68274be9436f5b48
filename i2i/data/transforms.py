"""Resize, crop and flip: how an image becomes a training sample."""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from i2i.images import resize

Array = np.ndarray
Size = tuple[int, int]
"""(height, width)"""


def resized(
    image: Array,
    mode: Literal["square", "shorter", "width", "none"],
    load: Size,
    crop: Size,
    by: Callable[[Array, Size], Array] = resize,
) -> Array:
    """image: (H, W, C) -> the same dtype at the size that crops are cut from, at least their own. Ids go `by` nearest."""
    height, width = image.shape[:2]
    if mode == "square":
        return by(image, (max(crop[0], load[0]), max(crop[1], load[1])))
    wanted = {"shorter": min(load) / min(height, width), "width": load[1] / width, "none": 1.0}[mode]
    scale = max(wanted, crop[0] / height, crop[1] / width)
    return by(image, (max(crop[0], round(height * scale)), max(crop[1], round(width * scale))))


def cropped(image: Array, crop: Size, place: tuple[float, float], flip: bool) -> Array:
    """Cut a part: `place` in [0, 1) picks its row and column among all that fit, so one draw serves images of two sizes."""
    top, left = (int(p * (side - cut + 1)) for p, side, cut in zip(place, image.shape[:2], crop, strict=True))
    cut = image[top : top + crop[0], left : left + crop[1]]
    # a view with negative strides would be stacked ten times slower
    return cv2.flip(cut, 1).reshape(cut.shape) if flip else cut
