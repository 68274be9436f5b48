"""Label maps: which ids are in the files, which classes follow from them, and which files do not fit."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from i2i.config import DataSettings
from i2i.data.folders import Found, Source, pairs
from i2i.data.reader import ids
from i2i.domain import Domain, Palette, listed
from i2i.errors import UserError
from i2i.images import OUTSIDE, ImageError

Counts = Mapping[int, int]
"""Pixels of each id."""
Census = dict[Source, Counts | ImageError]
"""What each label map holds, or why it cannot be read."""
Progress = Callable[[int, int], None]
MOST = 1024  # each class is a channel
USUAL_VOID, NEAR = 255, 250
AS_IMAGES = "--set data.labels=false takes them as images"


def wanted(settings: DataSettings, layout: str, kind: str | None) -> bool:
    """Whether the input side is to be read as a label map. Raises UserError where it cannot be one."""
    stated = settings.x.labels if settings.x else settings.labels
    labels = (layout == "labels" and kind != "unpaired") if stated is None else stated
    if labels and kind == "unpaired":
        raise UserError("ids of classes cannot be translated without pairs", f"{AS_IMAGES}; pix2pixhd and crn learn from pairs")
    if labels and stated is None and settings.direction == "BtoA":
        raise UserError("label maps can be the input only, and with --direction BtoA they are the output", AS_IMAGES)
    return labels


def label_maps(found: Found, side: str) -> list[Source]:
    """Every file of a side that has a partner, in all splits."""
    return [pair[side == "B"] for sides in found.splits.values() for pair in pairs(sides)[0]]


def palette_of(settings: DataSettings) -> Palette | None:
    """The colours of the classes, where the files show colours."""
    if settings.x:
        return settings.x.palette
    return read_palette(Path(settings.palette)) if settings.palette else None


def read_palette(path: Path) -> Palette:
    """A JSON list of [r, g, b], or lines of "r g b [name]" or "#rrggbb [name]", a class each, in order."""
    hint = 'a JSON list of [r, g, b], or lines of "r g b" or "#rrggbb", each perhaps with a name behind'
    try:
        text = path.read_text(encoding="utf-8-sig")
        colours = (
            json.loads(text)
            if path.suffix.lower() == ".json"
            else [_colour(line) for line in text.splitlines() if line.strip()]
        )
        if not all(isinstance(part, int) and 0 <= part <= 255 for colour in colours for part in colour):
            raise ValueError("colours have parts from 0 to 255")
        palette = tuple((r, g, b) for r, g, b in colours)
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"cannot read the palette '{path}': {error}", hint) from None
    twice = [colour for colour, count in Counter(palette).items() if count > 1]
    if twice or not palette:
        raise UserError(f"the palette '{path}' " + (f"has the colour {twice[0]} twice" if palette else "is empty"), hint)
    return palette


def _colour(line: str) -> tuple[int, ...]:
    if found := re.fullmatch(r"\s*#([0-9a-fA-F]{6})\b.*", line):
        return tuple(bytes.fromhex(found[1]))
    if found := re.fullmatch(r"\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)(\s.*)?", line):
        return tuple(map(int, found.groups()[:3]))
    raise ValueError(f"'{line.strip()[:40]}' is no colour")


def census(sources: Iterable[Source], palette: Palette | None, on_progress: Progress | None = None) -> Census:
    """Read every label map, a few at a time: decoding releases Python's lock."""
    sources = list(dict.fromkeys(sources))
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="i2i-labels")
    found: Census = {}
    try:
        for source, counts in zip(sources, pool.map(lambda source: _counted(source, palette), sources), strict=True):
            found[source] = counts
            if on_progress:
                on_progress(len(found), len(sources))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _counted(source: Source, palette: Palette | None) -> Counts | ImageError:
    try:
        values, pixels = np.unique(ids(source, palette), return_counts=True)
    except ImageError as error:
        return error
    return dict(zip(values.tolist(), pixels.tolist(), strict=True))


def total(found: Census) -> Counter[int]:
    """Pixels of each id in all files that can be read."""
    return sum((Counter(counts) for counts in found.values() if not isinstance(counts, ImageError)), Counter())


def settled(found: Census, settings: DataSettings, palette: Palette | None) -> Domain:
    """The domain that the settings state, or that follows from what was found. Raises the error of a file that has one."""
    for counts in found.values():
        if isinstance(counts, ImageError):
            raise ImageError(counts.message, f"{counts.hint}; {AS_IMAGES}" if settings.labels is None else counts.hint)
    if settings.x:
        return settings.x
    seen = total(found).keys()
    stated = len(palette) if palette else settings.classes
    if palette and settings.classes not in (None, len(palette)):
        raise UserError(f"data.classes is {settings.classes}, but the palette has {stated} colours", "leave data.classes out")
    void = _usual_void(seen, stated) if settings.void is None else settings.void
    classes = stated or 1 + max((i for i in seen if i not in void), default=0)
    if classes > MOST:
        raise UserError(
            f"the label maps hold ids up to {classes - 1}, and a class is a channel: {MOST} is the most",
            "ids of single things belong into an inst folder; name ids that mean nothing in data.void",
        )
    unlabelled = bool(void) or (palette is not None and OUTSIDE in seen)
    return Domain(channels=max(1, classes) + unlabelled, labels=True, void=void, palette=palette)  # type: ignore[call-arg]


def _usual_void(seen: Iterable[int], classes: int | None) -> tuple[int, ...]:
    """255, where it occurs and is no class: none of the stated ones, or far above all others that were found."""
    near = classes > USUAL_VOID if classes else any(i >= NEAR and i != USUAL_VOID for i in seen)
    return (USUAL_VOID,) if USUAL_VOID in seen and not near else ()


def strays(found: Census, domain: Domain) -> dict[Source, list[int]]:
    """The ids in each file that are no class of the domain, and not void."""
    void = {*domain.void, *([OUTSIDE] if domain.palette and domain.unlabelled else [])}
    outside = {
        source: [i for i in counts if i not in void and not 0 <= i < domain.classes]
        for source, counts in found.items()
        if not isinstance(counts, ImageError)
    }
    return {source: sorted(values) for source, values in outside.items() if values}


def stray_words(strange: Mapping[Source, list[int]], domain: Domain) -> tuple[str, str]:
    """What is wrong with them, and what to do."""
    found = sorted({i for values in strange.values() for i in values})
    count = "1 label map holds" if len(strange) == 1 else f"{len(strange)} label maps hold"
    what = f"{count} {_ids(found, domain)}, and the classes are 0 to {domain.classes - 1}"
    if domain.palette:
        return what, "give the palette a colour for each class, or name ids that mean unlabelled in data.void"
    more = max([domain.classes, *found]) + 1
    return what, f"if that means unlabelled: --set 'data.void={found[:8]}'; if these are classes: --set data.classes={more}"


def _ids(found: Sequence[int], domain: Domain) -> str:
    colours = domain.palette is not None and OUTSIDE in found
    numbers = [i for i in found if not (colours and i == OUTSIDE)]
    return " and ".join([*(["colours outside the palette"] if colours else []), *([listed(numbers)] if numbers else [])])


def require_known(found: Census, domain: Domain) -> None:
    """Raise UserError, with the files and the values, where some are no class."""
    if strange := strays(found, domain):
        what, do = stray_words(strange, domain)
        files = ", ".join(f"'{source.path}' ({_ids(values, domain)})" for source, values in list(strange.items())[:3])
        raise UserError(f"{what}: {files}{' and others' if len(strange) > 3 else ''}", do)
