"""What a picture is like, in a few numbers: enough to compare the two sides of a data set without their files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from i2i.domain import TOP

Array = np.ndarray
GRID = 16


@dataclass(frozen=True, eq=False)
class Sketch:
    """Brightness and colours are shares of the type's full range; of floats they are the values themselves."""

    mean: tuple[float, ...]
    """Of each channel."""
    detail: float
    """The share of pixels that differ from their right neighbour by more than a twenty-fifth of the range."""
    colourful: float
    """How far the channels of a pixel lie apart, on average; 0 for grey."""
    outline: Array
    """(GRID, GRID): where things begin and end, as what is usual for its place."""
    digest: bytes
    """The same for the same pixels."""


def sketch(array: Array) -> Sketch:
    """array: (H, W, C) of any type; a picture of no width gives that of one black pixel."""
    array = array if array.size else np.zeros((1, 1, 1), np.uint8)
    digest = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
    step = max(1, min(array.shape[:2]) // 256)  # numbers for comparing need no more pixels
    values = array[::step, ::step].astype(np.float32) / TOP[array.dtype.name]
    grey = values.mean(2)
    span = 1.0 if array.dtype.kind != "f" else float(grey.max() - grey.min()) or 1.0
    detail = float((np.abs(np.diff(grey, axis=1)) > span / 25).mean()) if grey.shape[1] > 1 else 0.0
    mean, colourful = values.mean((0, 1)), values.max(2) - values.min(2)
    return Sketch(tuple(mean.tolist()), detail, float(colourful.mean()), _outline(grey / span), digest)


def _outline(grey: Array) -> Array:
    edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return cv2.resize(np.minimum(edges, 1), (GRID, GRID), interpolation=cv2.INTER_AREA)


def alike(a: Sequence[Sketch], b: Sequence[Sketch]) -> float | None:
    """How often a[i] is more like b[i] than like another one, 0.5 by chance: whether things lie in the same places.

    What all of a side have in common, such as an object in the middle, is taken out first. None where nothing is left.
    """
    one, other = (_centred([sketch.outline for sketch in side]) for side in (a, b))
    telling = one.any(1) & other.any(1)
    one, other = one[telling], other[telling]
    likeness = one @ other.T
    count, own = len(likeness), likeness.diagonal()[:, None]
    closer = (own > likeness).sum() + 0.5 * ((own == likeness).sum() - count)
    return float(closer / (count * (count - 1))) if count > 1 else None


def _centred(outlines: Sequence[Array]) -> Array:
    """(N, GRID²) of length 1; 0 for those that are as all others."""
    flat = np.stack(outlines).reshape(len(outlines), -1)
    flat = flat - flat.mean(0)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > 1e-4, flat / np.maximum(length, 1e-4), 0)
