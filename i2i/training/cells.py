"""The cells of a sample sheet: its file says itself where each lies, so that a page can show them one by one."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from i2i import atomic

CHUNK = "i2i-cells"
WHOLE = "sheet"
"""The name of the one column of a sheet whose file does not say where its cells lie."""

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels."""


def write(path: Path, picture: np.ndarray, boxes: Mapping[str, Sequence[Box]]) -> None:
    """Write a sheet (H, W, 3) uint8 as PNG, with the boxes of the cells of each column. The same sheet gives the same bytes."""
    info, file = PngInfo(), io.BytesIO()
    info.add_text(CHUNK, json.dumps(boxes))
    Image.fromarray(picture).save(file, "PNG", pnginfo=info, compress_level=1)
    atomic.write_bytes(path, file.getvalue())


def read(path: Path) -> dict[str, list[Image.Image]]:
    """The cells of each column of a sheet. Raises OSError or ValueError for what is no whole PNG."""
    with Image.open(path, formats=["PNG"]) as image:
        assert isinstance(image, PngImageFile)
        image.load()
        boxes = _boxes(image.text.get(CHUNK, "null"), image.size)
        sheet = image.convert("RGB")
    return {name: [sheet.crop(box) for box in column] for name, column in boxes.items()} if boxes else {WHOLE: [sheet]}


def _boxes(text: str, size: tuple[int, int]) -> dict[str, list[Box]] | None:
    """What the file says, where it makes sense."""
    try:
        boxes = {str(name): [_box(box, size) for box in column] for name, column in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        return None
    return boxes


def _box(box: Sequence[int], size: tuple[int, int]) -> Box:
    left, top, right, bottom = map(int, box)
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise ValueError(f"{box} does not lie in {size}")
    return left, top, right, bottom
