"""What can be wrong with label maps, and with what lies beside them or the pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from i2i import images
from i2i.config import DataSettings
from i2i.data import labels
from i2i.data.findings import Finding, about, examples
from i2i.data.folders import Found, Source, beside, masks, pairs
from i2i.data.labels import AS_IMAGES, Census
from i2i.data.reader import instance_ids
from i2i.domain import Domain, Palette
from i2i.errors import UserError
from i2i.images import OUTSIDE, ImageError

FULL = {"uint8": 255, "uint16": 65535}
SPARSE = 8  # that many channels for one class that occurs


def things(maps: Sequence[Source], found: Census, settings: DataSettings, palette: Palette | None) -> Iterator[Finding]:
    """What the ids in the label maps are, and which of them are no classes."""
    reasons: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for source in maps:
        if isinstance(error := found[source], ImageError):
            reason = error.message.removeprefix(f"cannot read {str(source.path)!r}: ")
            reasons[reason, error.hint or ""].append(source.path)
    for (reason, hint), files in reasons.items():
        do = f"{hint}; {AS_IMAGES}" if settings.labels is None else hint
        yield from about("error", files, f"cannot be read as label maps: {reason}", do)
    try:
        domain = labels.settled(
            {s: counts for s, counts in found.items() if not isinstance(counts, ImageError)}, settings, palette
        )
    except UserError as error:
        yield Finding("error", error.message, error.hint or "")
        return
    if strange := labels.strays(found, domain):
        what, do = labels.stray_words(strange, domain)
        yield Finding("error", what, do, examples([s.path for s in strange]), len(strange))
    seen = labels.total(found)
    if seen and not strange:
        yield from _sparse(seen, domain)
        yield Finding("note", f"{domain}, {_shares(seen, domain)}", "--set data.void=… and data.classes=… say otherwise")


def _sparse(seen: Counter[int], domain: Domain) -> Iterator[Finding]:
    used = [i for i in seen if 0 <= i < domain.classes and i not in domain.void]
    if domain.palette is None and domain.classes > SPARSE * len(used):
        what = f"only {len(used)} of {domain.classes} classes occur, such as {max(used, default=0)}"
        yield Finding("warning", what, "each class is a channel, occurring or not: number them from 0 without gaps")
    unlabelled = _void(seen, domain) / seen.total()
    if unlabelled > 0.5:
        yield Finding(
            "warning", f"{unlabelled:.0%} of all pixels are unlabelled", "is the palette, or data.void, the right one?"
        )


def _void(seen: Counter[int], domain: Domain) -> int:
    return sum(seen[i] for i in {*domain.void, *([OUTSIDE] if domain.palette else [])})


def _shares(seen: Counter[int], domain: Domain) -> str:
    """Such as "29 occur, most of all 7 (38%), 11 (22%) and 21 (15%)"."""
    void = {*domain.void, *([OUTSIDE] if domain.palette else [])}
    classes = [(i, count) for i, count in seen.most_common() if i not in void]
    most = ", ".join(f"{i} ({count / seen.total():.0%})" for i, count in classes[:3])
    rest = f"; {_void(seen, domain) / seen.total():.1%} unlabelled" if domain.unlabelled else ""
    return f"{len(classes)} occur, most of all {most}{rest}"


def companions(found: Found, settings: DataSettings, side: str, thorough: bool) -> Iterator[Finding]:
    """Instance maps and masks: whether each pair has one, and of its own size."""
    for split, sides in found.splits.items():
        matched = [pair[side == "B"] for pair in pairs(sides)[0]]
        if side and found.splits["train"].instances:
            yield from _beside(matched, sides.instances, "instance map", split)
            yield from _instances(sides.instances) if thorough else ()
    if settings.region:
        try:
            yield from _beside([a for a, _ in pairs(found.splits["train"])[0]], masks(settings.region), "mask", "train")
        except UserError as error:
            yield Finding("error", error.message, error.hint or "")


def _beside(sources: Sequence[Source], others: Sequence[Source], what: str, split: str) -> Iterator[Finding]:
    partners = list(zip(sources, beside(sources, others), strict=True))
    missing = [source.path for source, partner in partners if partner is None]
    other = [partner.path for source, partner in partners if partner and _differ(source, partner)]
    yield from about("error", missing, f"has no {what} in {split}", f"each needs one, of the same name; or remove all {what}s")
    yield from about("error", other, f"has another size than the pair in {split}", f"save each {what} at the size of its pair")


def _differ(source: Source, partner: Source) -> bool:
    try:
        one, other = images.header(source.path), images.header(partner.path)
    except ImageError:  # reported elsewhere
        return False
    return (one.width // (2 if source.half else 1), one.height) != (other.width, other.height)


def _instances(sources: Sequence[Source]) -> Iterator[Finding]:
    full = []
    for source in sources:
        try:
            if instance_ids(source).max(initial=0) == FULL.get(images.header(source.path).dtype):
                full.append(source.path)
        except ImageError as error:
            yield Finding("error", error.message, error.hint or "", (str(source.path),), 1)
    do = "larger ids were cut if there were any; save them with more bits"
    yield from about("warning", full, "has instance ids up to the most that its type holds", do)
