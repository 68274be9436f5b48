"""What the values of each side are, settled by a look at every file's header before training starts."""

from collections import Counter
from collections.abc import Iterable, Sequence

from i2i import images
from i2i.config import DataSettings
from i2i.data import labels
from i2i.data.folders import Found, Source
from i2i.data.labels import Census, Progress, label_maps
from i2i.data.reader import picture
from i2i.decoders import Header
from i2i.domain import Domain
from i2i.errors import UserError


def settle(side: str, sources: Iterable[Source]) -> Domain:
    """One domain for all sources of a side. The range of float images is read off their pixels, since no type states it."""
    sources = list(sources)
    domain = agreed(side, sources, [images.header(source.path) for source in sources])
    if domain.dtype != "float32":
        return domain
    low, high = _range(side, sources)
    return Domain(channels=domain.channels, dtype="float32", low=low, high=high)


def settle_labels(found: Found, settings: DataSettings, on_progress: Progress | None = None) -> tuple[Domain, Census]:
    """The classes of the label maps on the input side, from every map of every split, and what was counted in them.

    Raises UserError, naming files and values, where some id is no class.
    """
    palette = labels.palette_of(settings)
    counted = labels.census(label_maps(found, "B" if settings.direction == "BtoA" else "A"), palette, on_progress)
    domain = labels.settled(counted, settings, palette)
    labels.require_known(counted, domain)
    return domain, counted


def agreed(side: str, sources: Sequence[Source], headers: Sequence[Header]) -> Domain:
    """The channels and the type that suit every file, in the type's full range.

    The deepest type wins. Grey and colour together are colour; any other mix has no right answer and is a UserError.
    """
    channels = Counter(header.channels for header in headers)
    if len(channels) > 1 and not set(channels) <= {1, 3}:
        odd = min(channels, key=channels.__getitem__)
        example = next(source.path for source, header in zip(sources, headers, strict=True) if header.channels == odd)
        raise UserError(
            f"side {side} mixes images of {' and '.join(map(str, sorted(channels)))} channels, such as '{example}' with {odd}",
            "give all of them the same channels, or leave the odd ones out",
        )
    dtypes = {header.dtype for header in headers}
    if "float32" in dtypes and len(dtypes) > 1:
        example = next(source.path for source, header in zip(sources, headers, strict=True) if header.dtype == "float32")
        raise UserError(f"side {side} mixes float images, such as '{example}', with others", "save all of them in one type")
    deepest = next(dtype for dtype in ("float32", "uint16", "uint8") if dtype in dtypes)
    return Domain.of(max(channels), deepest)  # type: ignore[arg-type]


def _range(side: str, sources: Sequence[Source]) -> tuple[float, float]:
    lows, highs = zip(*((float(p.array.min()), float(p.array.max())) for p in map(picture, sources)), strict=True)
    if min(lows) == max(highs):
        raise UserError(
            f"every pixel of side {side} has the value {min(lows):g}, '{sources[0].path}' and all others",
            "there is nothing to learn from them",
        )
    return min(lows), max(highs)
