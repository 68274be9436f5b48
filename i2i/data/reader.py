"""From a source on the disk to an array at loading size, each decoded once where memory allows."""

from threading import Lock, local

import numpy as np

from i2i import images
from i2i.config import DataSettings
from i2i.data.folders import Source
from i2i.data.transforms import resized
from i2i.domain import Domain, Palette
from i2i.images import ImageError, Picture, nearest
from i2i.memory import free_memory

Array = np.ndarray
INSTANCES = None
"""In the place of a domain: the file holds the ids of single things."""
LARGEST = np.iinfo(np.int32).max


def picture(source: Source) -> Picture:
    """Read one source: a whole file or its half. Raises ImageError with the file's name."""
    return _part(images.read(source.path), source)


def ids(source: Source, palette: Palette | None = None) -> Array:
    """The whole numbers of one source of a label or instance map, (H, W) int64. Raises ImageError with the file's name."""
    whole = images.read_ids(source.path, palette)
    return whole if source.half is None else _half(whole, source)


def instance_ids(source: Source) -> Array:
    """(H, W, 1) int32. Raises ImageError for ids that this cannot hold."""
    found = ids(source)
    if found.size and (found.max() > LARGEST or found.min() < 0):
        raise ImageError(f"'{source.path}' has instance ids that are negative or over {LARGEST}", "number the things anew")
    return found.astype(np.int32)[..., None]


class Reader:
    """Gives arrays (H, W, C) in a domain's channels and dtype, resized for cropping; for `INSTANCES` the ids of single things.

    Label maps and instances are resized to the nearest pixel, both on one grid.

    Resizing draws no random number, so its result can be kept: with a budget that holds all of them, each source is decoded in
    the first epoch only. Threads may share a reader.
    """

    def __init__(self, settings: DataSettings, budget: int):
        """budget: bytes that kept arrays may take; past it nothing more is kept."""
        self.settings, self.budget = settings, budget
        self._kept: dict[tuple[Source, Domain | None], Array] = {}
        self._bytes = 0
        self._lock = Lock()
        self._last = local()

    def __call__(self, source: Source, domain: Domain | None) -> Array:
        key = (source, domain)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._made(source, domain)
            self._keep(key, kept)
        return kept

    def _made(self, source: Source, domain: Domain | None) -> Array:
        how = self.settings.resize, self.settings.resized, self.settings.crop
        if domain is INSTANCES:
            return np.ascontiguousarray(resized(instance_ids(source), *how, nearest))
        try:
            if domain.labels:
                return np.ascontiguousarray(resized(domain.positions(ids(source, domain.palette)), *how, nearest))
            array = domain.conform(_part(self._whole(source) if source.half else images.read(source.path), source))
        except ImageError as error:
            blamed = str(source.path) in error.message
            raise error if blamed else ImageError(f"cannot use '{source.path}': {error.message}", error.hint) from error
        return np.ascontiguousarray(resized(array, *how))

    def _whole(self, source: Source) -> Picture:
        """The file around a half. Each thread holds its last one, since the other half is mostly what comes next."""
        path, whole = getattr(self._last, "read", (None, None))
        if path != source.path or whole is None:
            whole = images.read(source.path)
            self._last.read = (source.path, whole)
        return whole

    def _keep(self, key: tuple[Source, Domain | None], array: Array) -> None:
        with self._lock:
            if key not in self._kept and self._bytes + array.nbytes <= self.budget:
                self._kept[key] = array
                self._bytes += array.nbytes


def _part(whole: Picture, source: Source) -> Picture:
    if source.half is None:
        return whole
    alpha = None if whole.alpha is None else _half(whole.alpha, source)
    return Picture(_half(whole.array, source), alpha, whole.notes)


def _half(array: Array, source: Source) -> Array:
    middle = array.shape[1] // 2
    if middle == 0:
        raise ImageError(
            f"'{source.path}' is one pixel wide and cannot hold two images side by side", "remove it from the data"
        )
    return array[:, :middle] if source.half == "left" else array[:, middle : 2 * middle]


def cache_budget(settings: DataSettings) -> int:
    """Bytes for decoded images."""
    return free_memory() // 4 if settings.cache_gb is None else int(settings.cache_gb * 1e9)
