"""Where the data that `--data` names is, or is put: a path, the built-in scenes, or a public set by name."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from i2i.data import catalogue, folders, scenes
from i2i.data.download import Progress
from i2i.errors import UserError

SCENES = 200
"""How many scenes `--data scenes` makes."""
SMALLEST = 128
"""And their size in pixels, unless training asks for more."""
EVERY = 10.0
"""Seconds between two words about how far something is."""


def home() -> Path:
    """Where data sets that have a name are kept: $I2I_DATA, else a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("I2I_DATA") or cache / "i2i" / "data")


def locate(source: str, kind: str, say: Callable[[str], None], size: tuple[int, int] = (SMALLEST, SMALLEST)) -> str:
    """The absolute place of a data set: a path as it is, `scenes` made where it is not yet there, a known name fetched.

    `kind` is a layout of scenes: paired, unpaired, labels or simreal; `size` is (height, width).
    """
    if Path(source).exists():
        return str(Path(source).absolute())
    if both := folders.joined(source):
        return ",".join(str(folder.absolute()) for folder in both)
    if source == catalogue.BUILT_IN:
        return str(_made(kind, (max(SMALLEST, size[0]), max(SMALLEST, size[1])), say))
    if re.fullmatch(r"[\w-]+", source):
        say(f"looking for the data set '{source}' in {home()}")
        return str(catalogue.fetch(source, home(), paced(say, "fetched", "MB", 1e6)))
    raise UserError(
        f"there is no folder '{source}'",
        "check the name; i2i data list shows the sets known by name; where the data of a run has moved, change data.source in"
        " its config.yaml",
    )


def paced(say: Callable[[str], None], verb: str, unit: str, scale: float = 1) -> Progress:
    """Says now and then how far something is, such as "fetched 120 of 2200 MB"."""
    told = time.monotonic()

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            say(amount(done, total, verb, unit, scale))

    return tell


def amount(done: int, total: int | None, verb: str, unit: str, scale: float) -> str:
    return f"{verb} {done / scale:.0f}" + (f" of {total / scale:.0f}" if total else "") + f" {unit}"


def _made(kind: str, size: tuple[int, int], say: Callable[[str], None]) -> Path:
    height, width = size
    spelled = f"{height}" if height == width else f"{width}x{height}"
    folder = home() / f"scenes-{kind}-{SCENES}x{spelled}"
    if not folder.exists():
        say(f"making {SCENES} scenes of {spelled} pixels in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        total, tell = scenes.scenes_needed(kind, SCENES), paced(say, "drew", "scenes")
        scenes.make(folder, kind, SCENES, size, on_progress=lambda done: tell(done, total))
    return folder
