"""What a data set is, in the numbers that decide how to train on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from i2i.config import DataSettings
from i2i.data import folders, labels
from i2i.data.check import FAINT, Looks, Report, Seen, size_of
from i2i.data.folders import Source, is_synthetic
from i2i.data.settle import agreed
from i2i.data.sketch import Sketch, alike
from i2i.decoders import LOSSY
from i2i.domain import TOP, Domain, words
from i2i.errors import counted

MOST_CLASSES = 64
"""Fewer values than that in a grey file that keeps them are taken for the ids of classes."""
COMPARED = 500


@dataclass(frozen=True)
class Side:
    """One side of the training split."""

    images: int
    width: int
    height: int
    """Of the image in the middle, by area."""
    shorter: int
    """The shorter side in pixels; one image in twenty may be smaller."""
    uniform: bool
    """Whether all images have one size."""
    channels: int
    dtype: str
    low: float
    top: float
    """The least and the most of all values, as the files have them."""
    mean: tuple[float, ...] = ()
    detail: float | None = None
    colourful: float | None = None
    """As in a `Sketch`, on average; nothing is known of what was not decoded."""
    ids: bool = False
    """Whether its values look like the ids of classes."""

    @property
    def shape(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def full_scale(self) -> int | None:
        """The number that probably means full brightness, where most of the type's range is unused: 4095 for 12 bits."""
        unused = self.dtype != "float32" and 0 < self.top < TOP[self.dtype] * FAINT
        return (1 << int(self.top).bit_length()) - 1 if unused else None

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}" if self.uniform else f"about {self.width}x{self.height}"
        values = "" if self.full_scale is None else f", values up to {self.top:g}"
        return f"{counted(self.images, 'image')} of {size}, {words(self.dtype, self.channels)}{values}"


@dataclass(frozen=True)
class Facts:
    """All that a plan goes by."""

    layout: str
    said: str
    kind: str
    a: Side
    b: Side
    pairs: int
    alike: float | None
    """How often partners are more alike than strangers (see `alike`); None where nothing can be said."""
    outputs: float
    """How many different outputs an input has, on average."""
    held_out: int
    labels: Domain | None
    """The classes, where side A holds label maps."""
    instances: bool
    synthetic: bool
    """Whether the folders say that one side is synthetic and the other real."""

    @property
    def fewest(self) -> int:
        """Images of the smaller side, or pairs."""
        return self.pairs if self.kind == "paired" else min(self.a.images, self.b.images)

    @property
    def epoch(self) -> int:
        """Samples in an epoch."""
        return self.pairs if self.kind == "paired" else max(self.a.images, self.b.images)


def facts(report: Report, seen: Seen, settings: DataSettings) -> Facts:
    """What `examine` has found, as numbers. Its report has no errors."""
    train = seen.found.splits["train"]
    matched = folders.pairs(train)[0] if report.kind == "paired" else []
    held_out = seen.found.held_out
    domain = labels.settled(seen.counted, settings, labels.palette_of(settings)) if seen.counted else None
    return Facts(
        layout=seen.found.layout,
        said=report.said,
        kind=report.kind or "unpaired",
        a=_side("A", train.a, seen.looks),
        b=_side("B", train.b, seen.looks),
        pairs=len(matched),
        alike=_alike(matched, seen.looks),
        outputs=_outputs(matched, seen.looks),
        held_out=min(len(held_out.a), len(held_out.b)) if held_out else 0,
        labels=domain,
        instances=bool(train.instances),
        synthetic=is_synthetic(train),
    )


def _side(name: str, sources: Sequence[Source], looks: Looks) -> Side:
    headers = [header for source in sources if (header := looks[source.path].header)]
    domain = agreed(name, sources, headers)
    sizes = sorted((size_of(s, h) for s, h in zip(sources, headers, strict=True)), key=lambda size: size[0] * size[1])
    shorter = sorted(map(min, sizes))
    sketches = [sketch for source in sources if (sketch := _sketch(source, looks))]
    files = [looks[source.path] for source in sources]
    top, kept = max(look.top for look in files), all(header.format not in LOSSY for header in headers)
    whole = domain.dtype != "float32" and domain.channels == 1
    return Side(
        len(sources),
        *sizes[len(sizes) // 2],
        shorter[len(shorter) // 20],
        len(set(sizes)) == 1,
        domain.channels,
        domain.dtype,
        min(look.low for look in files),
        top,
        tuple(median(values) for values in zip(*(s.mean for s in sketches), strict=True)) if sketches else (),
        sum(s.detail for s in sketches) / len(sketches) if sketches else None,
        sum(s.colourful for s in sketches) / len(sketches) if sketches else None,
        ids=whole and kept and 0 < top < MOST_CLASSES,
    )


def _sketch(source: Source, looks: Looks) -> Sketch | None:
    sketches = looks[source.path].sketches
    return (sketches[-1] if source.half == "right" else sketches[0]) if sketches else None


def _alike(matched: Sequence[tuple[Source, Source]], looks: Looks) -> float | None:
    some = matched[:: max(1, -(-len(matched) // COMPARED))]
    both = [(a, b) for pair in some if (a := _sketch(pair[0], looks)) and (b := _sketch(pair[1], looks))]
    return alike([a for a, _ in both], [b for _, b in both]) if both else None


def _outputs(matched: Sequence[tuple[Source, Source]], looks: Looks) -> float:
    """Different partners of the same pixels."""
    known = [(a.digest, b.digest) for pair in matched if (a := _sketch(pair[0], looks)) and (b := _sketch(pair[1], looks))]
    return len(set(known)) / len({a for a, _ in known}) if known else 1.0


def views(files: Sequence[str]) -> Counter[str]:
    """Endings such as _t0 and _t1 where the names of single images say that they are views of the same things."""
    stems = [name.rpartition("_") for name in files]
    ends = Counter(end for thing, _, end in stems if thing)
    things = Counter(thing for thing, _, _ in stems if thing)
    whole = len(things) > 1 and len(set(things.values())) == 1 and len(set(ends.values())) == 1
    return ends if whole and len(ends) > 1 and sum(ends.values()) == len(files) else Counter()
