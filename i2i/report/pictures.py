"""The sample sheets of a run as cells that a page can carry: few steps, and no finer than the size of a page allows."""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from i2i.training import cells
from i2i.training.folder import SAMPLES

BUDGET = 6_500_000
"""The most bytes of all pictures of a page, before base64 makes 4 of 3."""
ROWS = 12
"""The most fixed images that a page shows."""
LADDER = [
    (None, None, 32), (90, None, 32), (85, 512, 32), (85, 512, 16), (75, 256, 16), (75, 256, 8), (60, 128, 4), (50, 64, 2)
]  # fmt: skip
"""The quality of WebP (None: every value is kept), the longest side, and about how many steps: the first that fits is taken."""
GIVEN = ("input", "target", "boundaries", "x", "y", "synthetic", "real")
"""The names of columns that a method was given; those of all others it has made."""
BEFORE = {"refined": "synthetic"}
"""What is made by changing something else a little, so that the difference between the two says much."""

Encoded = dict[str, list[tuple[bytes, int]]]
"""The images of each column, and how wide each is."""
Rung = tuple[int | None, int | None]
Sheet = tuple[int, Path]


class Cache(dict[tuple[str, int, Rung], Encoded]):
    """What was encoded before, so that a page that is written again and again encodes each sheet once.

    start: where on the ladder the last page was, since a run that grows never climbs it.
    """

    start = 0


def read(run: Path, keep: Iterable[int | None] = (), cache: Cache | None = None) -> dict[str, Any]:
    """The sheets of a run: `steps`, each with the numbers of its cells by column, and the `images` as data URIs.

    keep: steps of which a page without the nearest sheet would say too little, such as that of the best checkpoint.
    """
    cache = Cache() if cache is None else cache
    sheets = _sheets(run)
    wanted = [step for step in keep if step is not None]
    taken: list[Sheet] = []
    found: list[tuple[int, Encoded]] = []
    for place in range(cache.start, len(LADDER)):
        cache.start, (quality, side, most) = place, LADDER[place]
        taken, rung = _thinned(sheets, wanted, most), (quality, side)
        if taken and _weight(_encoded(taken[-1][1], rung, cache), len(taken)) > 1.2 * BUDGET:
            continue  # the other sheets need not be tried
        found = [(step, encoded) for step, path in taken if (encoded := _encoded(path, rung, cache))]
        if _size([encoded for _, encoded in found]) <= BUDGET:
            break
    for old in [key for key in cache if key[2] != rung]:
        del cache[old]
    return _tree(found) | {"sheets": len(sheets), "unread": len(taken) - len(found)}


def thumbnails(run: Path, side: int = 160) -> dict[str, str]:
    """The first row of the newest sheet, small, as data URIs by column."""
    for _, path in reversed(_sheets(run)):
        if encoded := _encoded(path, (80, side), Cache()):
            return {name: _uri(images[0][0]) for name, images in encoded.items() if images}
    return {}


def blocks(columns: Sequence[str]) -> list[list[str]]:
    """Columns that belong together: a new block begins where, after an output, something given is followed by an output, and
    with the first of several styles."""
    found: list[list[str]] = []
    for i, name in enumerate(columns):
        after_output = bool(found) and any(other not in GIVEN for other in found[-1])
        before_output = i + 1 < len(columns) and columns[i + 1] not in GIVEN
        starts = name in GIVEN and after_output and before_output
        first_style = bool(found) and bool(re.fullmatch(r".* 1", name))
        if not found or starts or first_style:
            found.append([])
        found[-1].append(name)
    return found


def _sheets(run: Path) -> list[Sheet]:
    """The step and the file of each sheet, oldest first."""
    found = [(int(m[1]), path) for path in (run / SAMPLES).glob("*.png") if (m := re.fullmatch(r"step-(\d+)", path.stem))]
    return sorted(found)


def _thinned(sheets: list[Sheet], wanted: list[int], most: int) -> list[Sheet]:
    """The first, the last, those nearest to what is wanted, and every 2nd, 4th, 8th … : of a run that grows the same again."""
    stride = 1
    while len(sheets) / stride > most:
        stride *= 2
    kept = {*range(0, len(sheets), stride), *([len(sheets) - 1] if sheets else [])}
    for step in wanted if sheets else []:
        kept.add(min(range(len(sheets)), key=lambda i: abs(sheets[i][0] - step)))
    return [sheets[i] for i in sorted(kept)]


def _encoded(path: Path, rung: Rung, cache: Cache) -> Encoded:
    """The cells of a sheet as WebP; nothing where the file cannot be read."""
    try:
        key = path.name, path.stat().st_mtime_ns, rung
        if key not in cache:
            cache[key] = {name: [_webp(cell, *rung) for cell in column[:ROWS]] for name, column in cells.read(path).items()}
    except (OSError, ValueError, Image.DecompressionBombError):
        return {}
    return cache[key]


def _webp(cell: Image.Image, quality: int | None, side: int | None) -> tuple[bytes, int]:
    """Flat pictures, as label maps are, come out smaller where every value is kept."""
    if side and max(cell.size) > side:
        share = side / max(cell.size)
        cell = cell.resize((max(1, round(cell.width * share)), max(1, round(cell.height * share))), Image.Resampling.LANCZOS)
    ways: list[dict[str, Any]] = [] if quality is None else [{"quality": quality}]
    if quality is None or _is_flat(cell):
        ways.append({"lossless": True, "quality": 0})
    return min((_saved(cell, way) for way in ways), key=len), cell.width


def _is_flat(cell: Image.Image) -> bool:
    return cell.getcolors(256) is not None


def _saved(cell: Image.Image, way: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    cell.save(file, "WEBP", method=0, **way)  # more effort makes lossless ones a fifth smaller, in ten times the time
    return file.getvalue()


def _weight(encoded: Encoded, sheets: int) -> int:
    """About how many bytes so many sheets have, of which what is given is the same on all."""
    return sum(len(image) * (1 if name in GIVEN else sheets) for name, column in encoded.items() for image, _ in column)


def _size(sheets: Sequence[Encoded]) -> int:
    """In bytes; what is the same on several sheets counts once."""
    return sum(map(len, {image for sheet in sheets for column in sheet.values() for image, _ in column}))


def _tree(found: list[tuple[int, Encoded]]) -> dict[str, Any]:
    numbers: dict[bytes, int] = {}
    steps = [{"step": step, "cells": _numbered(encoded, numbers)} for step, encoded in found]
    columns = list(dict.fromkeys(name for _, encoded in found for name in encoded))
    width = max((width for _, encoded in found for column in encoded.values() for _, width in column), default=0)
    about = {"width": width, "given": [name for name in columns if name in GIVEN], "blocks": blocks(columns), "before": BEFORE}
    return {"steps": steps, "images": [_uri(image) for image in numbers], **about}


def _numbered(encoded: Encoded, numbers: dict[bytes, int]) -> dict[str, list[int]]:
    """The number of each image; one that is new gets the next."""
    return {name: [numbers.setdefault(image, len(numbers)) for image, _ in column] for name, column in encoded.items()}


def _uri(image: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(image).decode()}"
