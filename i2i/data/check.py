"""What in a data set would hurt training later, found before it starts."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from i2i import images
from i2i.config import DataSettings
from i2i.data import labels
from i2i.data.check_labels import companions, things
from i2i.data.findings import SEVERITIES, Finding, Severity, about, examples
from i2i.data.folders import Found, NoLayout, Source, find, is_synthetic, pairs
from i2i.data.labels import Census, label_maps
from i2i.data.settle import agreed
from i2i.data.sketch import Sketch, sketch
from i2i.decoders import Header
from i2i.domain import TOP, Domain, words
from i2i.errors import UserError, counted

Kind = Literal["paired", "unpaired"]
FEW = 10
DEFAULT_CROP: int = DataSettings.model_fields["size"].default
SMALLEST_CROP = 32  # networks as published see nothing below
FAINT = 1 / 4  # a side without a value above this share of its range would be nearly black


@dataclass(frozen=True)
class Side:
    """One side of one split, in the words of a table."""

    split: str
    side: str
    images: int
    sizes: str
    values: str


@dataclass(frozen=True)
class Report:
    """What a data set is, and what was found in it, the worst first."""

    data: str
    layout: str | None
    said: str
    kind: Kind | None
    sides: tuple[Side, ...]
    findings: tuple[Finding, ...]
    crop: int | None
    """The side of the largest usual crop, up to the default one, that fits into every training image; None where none does."""
    synthetic: bool = False
    """Whether the folders say that one side is synthetic and the other real."""

    @property
    def trainable(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


@dataclass(frozen=True)
class Look:
    """What one file turned out to be. Without `thorough` only its header is known."""

    header: Header | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    see_through: bool = False
    low: float = 0.0
    top: float = 0.0
    digest: bytes | None = None
    sketches: tuple[Sketch, ...] = ()
    """Where asked for: of the picture, or of its left and right half."""


Looks = Mapping[Path, Look]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Seen:
    """Where the files lie and what each turned out to be, for whoever wants to know more than the report says."""

    found: Found
    looks: Looks
    label_side: str
    counted: Census | None


def check(root: str | Path, layout: str = "auto", **how: Any) -> Report:
    """The report of `examine`, which says what can be asked for."""
    return examine(root, layout, **how)[0]


def examine(
    root: str | Path,
    layout: str = "auto",
    *,
    kind: Kind | None = None,
    size: tuple[int, int] | None = None,
    thorough: bool = True,
    stated: str = "",
    settings: DataSettings | None = None,
    counted: Census | None = None,
    sketched: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Report, Seen | None]:
    """Look at every file of a data set. `thorough` decodes them all, the only way to see damage.

    Without a `kind` the data is judged as pairs where most names match. `size` is the crop (height, width); without it the one
    that training takes by default. `stated` names the sides ("A", "AB") whose range of values the settings give. `settings` say
    what is a label map; `counted` spares to read those again. `sketched` also asks what the pictures are like. Nothing that is
    wrong with the data raises: it is in the report, and without any layout there is nothing beside it.
    """
    settings = settings or DataSettings()
    try:
        found = find(root, layout)
        guessed, kind = kind is None, kind or _kind(found)
        side = _label_side(settings, found, kind)
        palette = labels.palette_of(settings) if side else None
    except UserError as error:
        about_it = Finding("error", error.message, error.hint or "", kind="layout" if isinstance(error, NoLayout) else "")
        return Report(str(root), None, "", kind, (), (about_it,), None), None
    maps = label_maps(found, side) if side else []
    if maps and counted is None and thorough:
        counted = labels.census(maps, palette)
    looks = _looks(found, thorough, {source.path for source in maps if not source.half}, sketched, on_progress)
    findings = [
        *(things(maps, counted, settings, palette) if side and counted else ()),
        *(companions(found, settings, side, thorough) if kind == "paired" else ()),
        *(_halfway(found, kind) if guessed else ()),
        *_unreadable(looks),
        *_partners(found, kind),
        *_values(found, looks, stated, side),
        *_pair_sizes(found, kind, looks),
        *_double_shape(found, looks),
        *_small(found, looks, size),
        *_copies(found, looks),
        *_balance(found, kind),
        *_conversions(looks),
        *_strangers(looks),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    sides = tuple(_side(split, name, sources, looks, name == side) for split, name, sources in all_sides(found))
    crop = _fitting(_training_sizes(found, looks))
    synthetic = is_synthetic(found.splits["train"])
    report = Report(str(root), found.layout, found.said, kind, sides, tuple(findings), crop, synthetic)
    return report, Seen(found, looks, side, counted)


# Looking


def _label_side(settings: DataSettings, found: Found, kind: Kind) -> str:
    """The side whose files hold ids of classes: "A", "B", or "" where none does."""
    if not labels.wanted(settings, found.layout, kind):
        return ""
    return "B" if settings.direction == "BtoA" else "A"


def _looks(
    found: Found, thorough: bool, maps: Collection[Path], sketched: bool, on_progress: Progress | None
) -> dict[Path, Look]:
    """Every file once, a few at a time: decoding releases Python's lock. Label `maps` are not looked at as images."""
    parts = 0 if not sketched else 2 if found.layout == "side-by-side" else 1

    def looked_at(file: Path) -> Look:
        return _quick_look(file) if not thorough else _stored_look(file) if file in maps else _thorough_look(file, parts)

    files = list(dict.fromkeys(source.path for _, _, sources in all_sides(found) for source in sources))
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="i2i-check")
    looks = {}
    try:
        for file, look in zip(files, pool.map(looked_at, files), strict=True):
            looks[file] = look
            if on_progress:
                on_progress(len(looks), len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    return looks


def _quick_look(file: Path) -> Look:
    try:
        return Look(images.header(file))
    except images.ImageError as error:
        return Look(problem=error.message)


def _stored_look(file: Path) -> Look:
    look = _quick_look(file)
    return look if look.problem else replace(look, digest=_digest(file))


def _digest(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()


def _thorough_look(file: Path, parts: int) -> Look:
    header = None
    try:
        header = images.header(file)
        picture = images.read(file)
        digest = _digest(file)
        low, top = float(picture.array.min()), float(picture.array.max())
        middle = max(1, picture.width // parts) if parts else 0  # the last column of an odd width belongs to neither half
        sketches = tuple(sketch(picture.array[:, n * middle : (n + 1) * middle]) for n in range(parts))
        return Look(header, None, picture.notes, _see_through(picture), low, top, digest, sketches)
    except images.ImageError as error:
        return Look(header, error.message)
    except OSError as error:
        return Look(header, error.strerror or str(error))


def _see_through(picture: images.Picture) -> bool:
    if picture.alpha is None:
        return False
    return bool(picture.alpha.min() < (1 if picture.alpha.dtype.kind == "f" else np.iinfo(picture.alpha.dtype).max))


def _kind(found: Found) -> Kind:
    """Two folders that number their images will share names by chance, so nearly all must match; of synthetic and real images
    no name means anything."""
    train = found.splits["train"]
    if found.layout == "labels":
        return "paired"
    if is_synthetic(train):
        return "unpaired"
    return "paired" if len(pairs(train)[0]) >= 0.8 * max(len(train.a), len(train.b)) else "unpaired"


# What can be wrong, one question each


def _unreadable(looks: Looks) -> Iterator[Finding]:
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for file, look in looks.items():
        if look.problem:
            by_reason[look.problem.removeprefix(f"cannot read {str(file)!r}: ")].append(file)
    for reason, files in by_reason.items():
        yield from about("error", files, f"cannot be read: {reason}", "replace or remove; training would stop there")


def _halfway(found: Found, kind: Kind) -> Iterator[Finding]:
    """What the guess whether images are pairs went by, where names match in part."""
    matched = len(pairs(found.splits["train"])[0])
    if kind == "unpaired" and matched:
        do = "if they are pairs, check them with --method pix2pix"
        yield Finding("note", f"taken as unpaired, though {matched} names stand on both sides", do)


def _partners(found: Found, kind: Kind) -> Iterator[Finding]:
    for split, sides in found.splits.items() if kind == "paired" else ():
        matched, alone = pairs(sides)
        files = [source.path for source in alone]
        if matched:
            do = "left out; add partners, or ignore this"
            yield from about("warning", files, f"lacks a partner in {split}", do, "partners")
        else:
            severity: Severity = "error" if split == "train" else "warning"
            do = "give partners the same name, or list them in a .csv with the columns A and B; cyclegan needs no pairs"
            what = f"no image in {split} has a partner of the same name"
            yield Finding(severity, what, do, examples(files), len(files), "partners")


def _values(found: Found, looks: Looks, stated: str, label_side: str) -> Iterator[Finding]:
    """Where the images of one side cannot be brought to one kind, or would lose by it."""
    for side in [side for side in ("A", "B") if side != label_side]:
        sources = [s for _, name, of_split in all_sides(found) if name == side for s in of_split if looks[s.path].header]
        headers = [header for source in sources if (header := looks[source.path].header)]
        if headers:
            try:
                domain = agreed(side, sources, headers)
            except UserError as error:
                yield Finding("error", error.message, error.hint or "")
            else:
                yield from _mixture(side, sources, headers)
                decoded = [look for source in sources if (look := looks[source.path]).digest and side not in stated]
                yield from _flat(side, decoded) if domain.dtype == "float32" else _faint(side, domain, decoded)


def _mixture(side: str, sources: Sequence[Source], headers: Sequence[Header]) -> Iterator[Finding]:
    """Grey among colour, 8 bits among 16: training makes them one, but it may not be what was meant."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for source, header in zip(sources, headers, strict=True):
        kinds[words(header.dtype, header.channels)].append(source.path)
    common, *rare = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    if rare:
        what = f"side {side} mixes " + ", ".join(f"{len(kinds[kind])} {kind}" for kind in (common, *rare))
        files = [file for kind in rare for file in kinds[kind]]
        yield Finding("warning", what, "all are brought to the richest of these", examples(files), len(files))


def _faint(side: str, domain: Domain, decoded: Sequence[Look]) -> Iterator[Finding]:
    """12-bit values in 16 bits, or the few numbers of a label map, would be nearly black to a network."""
    top = max((look.top * domain.high / TOP[look.header.dtype] for look in decoded if look.header), default=0)
    if 0 < top < domain.high * FAINT:
        full_scale = (1 << int(top).bit_length()) - 1
        values = f"{{channels: {domain.channels}, dtype: {domain.dtype}, high: {full_scale}}}"
        do = f"say so with --set 'data.{'x' if side == 'A' else 'y'}={values}' (x is the input: B with --direction BtoA)"
        what = (
            f"side {side} is {words(domain.dtype, domain.channels)}, but has no value above {top:g}: it would be nearly black"
        )
        yield Finding("warning", what, do, kind="faint")


def _flat(side: str, decoded: Sequence[Look]) -> Iterator[Finding]:
    """The range of floats is read off the files; one value has none."""
    if decoded and min(look.low for look in decoded) == max(look.top for look in decoded):
        what = f"every pixel of side {side} has the value {decoded[0].top:g}"
        yield Finding("error", what, "there is nothing to learn from them")


def _pair_sizes(found: Found, kind: Kind, looks: Looks) -> Iterator[Finding]:
    if kind == "unpaired" or found.layout == "side-by-side":
        return
    for split, sides in found.splits.items():
        scaled, bent = [], []
        for a, b in pairs(sides)[0]:
            header_a, header_b = looks[a.path].header, looks[b.path].header
            if header_a and header_b and size_of(a, header_a) != size_of(b, header_b):
                same_shape = _same_shape(size_of(a, header_a), size_of(b, header_b))
                scaled += [a.path] if same_shape else []
                bent += [a.path] if not same_shape else []
        do = "their contents no longer match after resizing; cut partners to the same part of the scene"
        yield from about("warning", bent, f"has another shape than the partner in {split}", do, "partners")
        do = "they are resized to one size; with --set data.resize=none they would not match"
        yield from about("note", scaled, f"has another size than the partner in {split}", do, "partners")


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)  # within a pixel of rounding


def _double_shape(found: Found, looks: Looks) -> Iterator[Finding]:
    """Whether side-by-side files look like two images."""
    if found.layout != "side-by-side":
        return
    known = {file: look.header for file, look in looks.items() if look.header}
    thin = [file for file, header in known.items() if header.width < 2]
    odd = [file for file, header in known.items() if header.width % 2 and header.width > 2]
    other = [file for file, header in known.items() if not 1.9 <= header.width / header.height <= 2.1]
    yield from about("error", thin, "is one pixel wide and cannot hold two images", "remove; training would stop there")
    yield from about("warning", odd, "has an odd width and cannot be halved", "their last column is dropped")
    do = "fine if your images are not square; otherwise they are no side-by-side pairs"
    yield from about("warning", other, "is not twice as wide as high", do)


def _small(found: Found, looks: Looks, size: tuple[int, int] | None) -> Iterator[Finding]:
    height, width = size or (DEFAULT_CROP, DEFAULT_CROP)
    crop = f"{height}" if height == width else f"{width}x{height}"
    sizes = _training_sizes(found, looks)
    fitting = _fitting(sizes)
    better = f"; --size {fitting} suits them" if fitting else f"; --size {SMALLEST_CROP} enlarges them least"
    do = "they would be enlarged" + (better if (fitting or SMALLEST_CROP) < min(height, width) else "")
    small = [path for path, sides in sizes.items() if sides[0] < width or sides[1] < height]
    yield from about("warning", small, f"is smaller than the {'' if size else 'default '}crop of {crop} pixels", do)


def _training_sizes(found: Found, looks: Looks) -> dict[Path, tuple[int, int]]:
    train = found.splits["train"]
    return {s.path: size_of(s, header) for s in (*train.a, *train.b) if (header := looks[s.path].header)}


def _fitting(sizes: Mapping[Path, tuple[int, int]]) -> int | None:
    """The largest power of two that fits, which suits every generator."""
    smallest = min(map(min, sizes.values()), default=0)
    return min(DEFAULT_CROP, 1 << (smallest.bit_length() - 1)) if smallest >= SMALLEST_CROP else None


def _copies(found: Found, looks: Looks) -> Iterator[Finding]:
    """The same bytes more than once: within a side they weigh more; on both sides of training they are a mistake."""
    places: dict[bytes, dict[tuple[bool, str], set[Path]]] = defaultdict(lambda: defaultdict(set))
    for split, side, sources in all_sides(found):
        for source in sources:
            digest = looks[source.path].digest
            if digest:
                places[digest][split == "train", "" if source.half else side].add(source.path)
    leaked, crossed, twice = [], [], []
    for copies in places.values():
        first = [min(paths) for paths in copies.values()][:1]
        leaked += first if len({is_train for is_train, _ in copies}) > 1 else []
        crossed += first if len({side for _, side in copies}) > 1 else []
        twice += [path for paths in copies.values() for path in sorted(paths)[1:]]
    yield from about("warning", leaked, "is both in train and held out", "scores on them mean nothing; remove them from one")
    yield from about("warning", crossed, "is on side A and on side B", "was one folder given twice?")
    yield from about("note", twice, "repeats another on the same side, byte by byte", "they weigh double; remove them")


def _balance(found: Found, kind: Kind) -> Iterator[Finding]:
    train = found.splits["train"]
    few = len(pairs(train)[0]) if kind == "paired" else min(len(train.a), len(train.b))
    if 0 < few < FEW:
        yield Finding(
            "warning",
            f"there {'is' if few == 1 else 'are'} only {counted(few, 'image')} to train on",
            "enough for a trial; results need hundreds",
        )
    if kind == "unpaired" and max(len(train.a), len(train.b)) > 5 * few:
        do = "an epoch is as long as the larger side, so each image of the smaller one is seen many times"
        yield Finding("note", f"the sides are unequal: {counted(len(train.a), 'image')} in A, {len(train.b)} in B", do)


def _conversions(looks: Looks) -> Iterator[Finding]:
    """What reading changes, which may surprise."""
    headers = {file: look.header for file, look in looks.items() if look.header}
    frames = [file for file, header in headers.items() if header.frames > 1]
    clear = [file for file, look in looks.items() if look.see_through]
    opaque = [file for file, header in headers.items() if header.alpha and not looks[file].see_through]
    by_note: dict[str, list[Path]] = defaultdict(list)
    for file, look in looks.items():
        for note in look.notes:
            by_note[note].append(file)
    do = "only the first of each is used; save the others apart"
    yield from about("warning", frames, "holds several frames or pages", do)
    do = "alpha is dropped, which shows the colours stored below; flatten them onto a background first if that matters"
    yield from about("warning", clear, "is partly transparent", do)
    yield from about("note", opaque, "has an alpha channel", "it is dropped")
    for note, files in by_note.items():
        if not note.startswith("first of"):
            yield from about("note", files, f"needs a conversion: {note}", "done on the fly, here as in training")


def _strangers(looks: Looks) -> Iterator[Finding]:
    """Files beside the images whose suffix says that they are none."""
    strangers: list[Path] = []
    for folder in sorted({file.parent for file in looks}):
        try:
            strangers += sorted(file for file in folder.iterdir() if _is_stranger(file))
        except OSError:  # the files that are missed there have been reported
            continue
    do = f"not used; known are {' '.join(sorted(images.SUFFIXES))}"
    yield from about("note", strangers, "is no known kind of image", do)


def _is_stranger(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() not in images.SUFFIXES and file.is_file()


# Words and small sums


def all_sides(found: Found) -> Iterator[tuple[str, str, Sequence[Source]]]:
    for split, sides in found.splits.items():
        yield split, "A", sides.a
        yield split, "B", sides.b


def size_of(source: Source, header: Header) -> tuple[int, int]:
    """Width and height of a source, half of its file where it is a half."""
    return header.width // (2 if source.half else 1), header.height


def _side(split: str, side: str, sources: Sequence[Source], looks: Looks, is_labels: bool) -> Side:
    known = [(source, header) for source in sources if (header := looks[source.path].header)]
    values = Counter(("label map, " if is_labels else "") + words(header.dtype, header.channels) for _, header in known)
    sizes = _sizes(size_of(*one) for one in known)
    return Side(split, side, len(sources), sizes, ", ".join(kind for kind, _ in values.most_common()))


def _sizes(sizes: Iterable[tuple[int, int]]) -> str:
    """Such as "256x256", or "55x35 to 640x480"."""
    sizes = sorted(set(sizes), key=lambda size: (size[0] * size[1], size))
    ends = dict.fromkeys((sizes[0], sizes[-1])) if sizes else []
    return " to ".join(f"{width}x{height}" for width, height in ends)
