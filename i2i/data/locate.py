"""Where the data that `--data` names is, or is put: a path, the built-in scenes, or a public set by name."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from i2i.data import catalogue, folders, scenes
from i2i.errors import UserError

SCENES = 200
"""How many scenes `--data scenes` makes."""
SMALLEST = 128
"""And their size in pixels, unless training asks for more."""


def home() -> Path:
    """Where data sets that have a name are kept: $I2I_DATA, else a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("I2I_DATA") or cache / "i2i" / "data")


def locate(source: str, kind: str, say: Callable[[str], None], size: int = SMALLEST) -> str:
    """The absolute place of a data set: a path as it is, `scenes` made where it is not yet there, a known name fetched."""
    if Path(source).exists():
        return str(Path(source).absolute())
    if both := folders.joined(source):
        return ",".join(str(folder.absolute()) for folder in both)
    if source == catalogue.BUILT_IN:
        return str(_made(kind, max(SMALLEST, size), say))
    if re.fullmatch(r"[\w-]+", source):
        say(f"looking for the data set '{source}' in {home()}")
        return str(catalogue.fetch(source, home()))
    raise UserError(f"there is no folder '{source}'", "where data has moved, change data.source in the run's config.yaml")


def _made(kind: str, size: int, say: Callable[[str], None]) -> Path:
    folder = home() / f"scenes-{kind}-{SCENES}x{size}"
    if not folder.exists():
        say(f"making {SCENES} scenes of {size} pixels in {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        scenes.make(folder, kind, SCENES, size)
    return folder
