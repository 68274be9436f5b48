"""Sample sheets: a row for each fixed image, a column for each thing the method shows, with its name above."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from i2i.method import Sheet
from i2i.training import cells
from i2i.training.cells import Box

GAP, LABEL = 4, 18


def write(path: Path, sheet: Sheet) -> np.ndarray:
    """Draw a sheet, each (B, C, H, W) in [-1, 1], into a PNG that says where its cells lie. Returns the RGB picture."""
    picture, boxes = _drawn(sheet)
    cells.write(path, picture, boxes)
    return picture


def _drawn(sheet: Sheet) -> tuple[np.ndarray, dict[str, list[Box]]]:
    """The picture, and for each column where its images lie in it."""
    columns = {name: [shown(image) for image in batch] for name, batch in sheet.items()}
    names = max(round(_font().getlength(name)) for name in columns)
    width = max(names, *(image.shape[1] for images in columns.values() for image in images))
    height = max(image.shape[0] for images in columns.values() for image in images)
    rows = max(len(images) for images in columns.values())
    canvas = Image.new("RGB", (len(columns) * (width + GAP) + GAP, LABEL + rows * (height + GAP)), "white")
    pen = ImageDraw.Draw(canvas)
    boxes: dict[str, list[Box]] = {name: [] for name in columns}
    for column, (name, images) in enumerate(columns.items()):
        left = GAP + column * (width + GAP)
        pen.text((left, 3), name, fill="black", font=_font())
        for row, image in enumerate(images):
            top = LABEL + row * (height + GAP)
            canvas.paste(Image.fromarray(image), (left, top))
            boxes[name].append((left, top, left + image.shape[1], top + image.shape[0]))
    return np.asarray(canvas), boxes


def shown(image: Tensor) -> np.ndarray:
    """(C, H, W) in [-1, 1] -> (H, W, 3) uint8: grey is repeated, of more than three channels the first three are shown.

    A one-hot label map gets a colour for each class.
    """
    if _is_one_hot(image):
        return _colours(len(image))[image.argmax(0).cpu().numpy()]
    levels = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    return levels[:, :, :3] if levels.shape[2] >= 3 else np.repeat(levels[:, :, :1], 3, axis=2)


def _is_one_hot(image: Tensor) -> bool:
    return len(image) > 1 and bool(((image == 0) | (image == 1)).all()) and bool((image.sum(0) == 1).all())


def _colours(count: int) -> np.ndarray:
    """Colours that differ from their neighbours: hues that turn by the golden angle, in three brightnesses."""
    hues = [round(i * 0.618034 % 1 * 180) for i in range(count)]
    hsv = np.array([[hue, 200 - 60 * (i % 2), 255 - 70 * (i % 3)] for i, hue in enumerate(hues)], np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=11)


def cat(sheets: Sequence[Sheet]) -> Sheet:
    """Sheets of one image each as one sheet."""
    return {name: torch.cat([sheet[name].detach().float().cpu() for sheet in sheets]) for name in sheets[0]}
