"""Resize, crop and flip: how an image becomes a training sample."""

from typing import Literal

import cv2
import numpy as np

from i2i.images import resize

Array = np.ndarray


def resized(image: Array, mode: Literal["square", "shorter", "none"], load_size: int, crop: int) -> Array:
    """image: (H, W, C) -> the same dtype at the size that crops are cut from, at least `crop` on both sides."""
    height, width = image.shape[:2]
    if mode == "square":
        side = max(crop, load_size)
        return resize(image, (side, side))
    shorter = max(crop, load_size if mode == "shorter" else min(height, width))
    scale = shorter / min(height, width)
    return resize(image, (max(crop, round(height * scale)), max(crop, round(width * scale))))


def cropped(image: Array, crop: int, place: tuple[float, float], flip: bool) -> Array:
    """Cut a square: `place` in [0, 1) picks its row and column among all that fit, so one draw serves images of two sizes."""
    top, left = (int(p * (side - crop + 1)) for p, side in zip(place, image.shape[:2], strict=True))
    cut = image[top : top + crop, left : left + crop]
    # a view with negative strides would be stacked ten times slower
    return cv2.flip(cut, 1).reshape(cut.shape) if flip else cut
