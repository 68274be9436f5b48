"""From a source on the disk to an array at loading size, each decoded once where memory allows."""

import os
from pathlib import Path
from threading import Lock, local

import numpy as np

from i2i import images
from i2i.config import DataSettings
from i2i.data.folders import Source
from i2i.data.transforms import resized
from i2i.domain import Domain
from i2i.images import ImageError, Picture

Array = np.ndarray


def picture(source: Source) -> Picture:
    """Read one source: a whole file or its half. Raises ImageError with the file's name."""
    return _part(images.read(source.path), source)


class Reader:
    """Gives arrays (H, W, C) in a domain's channels and dtype, resized for cropping.

    Resizing draws no random number, so its result can be kept: with a budget that holds all of them, each source is decoded in
    the first epoch only. Threads may share a reader.
    """

    def __init__(self, settings: DataSettings, budget: int):
        """budget: bytes that kept arrays may take; past it nothing more is kept."""
        self.settings, self.budget = settings, budget
        self._kept: dict[tuple[Source, Domain], Array] = {}
        self._bytes = 0
        self._lock = Lock()
        self._last = local()

    def __call__(self, source: Source, domain: Domain) -> Array:
        key = (source, domain)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._made(source, domain)
            self._keep(key, kept)
        return kept

    def _made(self, source: Source, domain: Domain) -> Array:
        whole = self._whole(source) if source.half else images.read(source.path)
        try:
            array = domain.conform(_part(whole, source))
        except ImageError as error:
            raise ImageError(f"cannot use '{source.path}': {error.message}", error.hint) from error
        return np.ascontiguousarray(resized(array, self.settings.resize, self.settings.resized, self.settings.size))

    def _whole(self, source: Source) -> Picture:
        """The file around a half. Each thread holds its last one, since the other half is mostly what comes next."""
        path, whole = getattr(self._last, "read", (None, None))
        if path != source.path or whole is None:
            whole = images.read(source.path)
            self._last.read = (source.path, whole)
        return whole

    def _keep(self, key: tuple[Source, Domain], array: Array) -> None:
        with self._lock:
            if key not in self._kept and self._bytes + array.nbytes <= self.budget:
                self._kept[key] = array
                self._bytes += array.nbytes


def _part(whole: Picture, source: Source) -> Picture:
    if source.half is None:
        return whole
    middle = whole.width // 2
    if middle == 0:
        raise ImageError(
            f"'{source.path}' is one pixel wide and cannot hold two images side by side", "remove it from the data"
        )
    part = slice(None, middle) if source.half == "left" else slice(middle, 2 * middle)
    return Picture(whole.array[:, part], None if whole.alpha is None else whole.alpha[:, part], whole.notes)


def free_memory() -> int:
    """Bytes of memory that can be used without swapping, in a container those it may still take; 0 where nothing tells."""
    left = _left_in_container()
    return _left_on_machine() if left is None else min(left, _left_on_machine())


def _left_on_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _left_in_container() -> int | None:
    """What a control group (Linux, version 2) leaves of its limit; None where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no group, or a limit of "max"
        return None
