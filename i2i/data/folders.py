"""Which images lie in a folder, and which layout they follow: detected, and said."""

import csv
import hashlib
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from i2i import images
from i2i.errors import UserError

Half = Literal["left", "right"]
SPLITS = ("train", "val", "test")
NAMED_SIDES = (("A", "B"), ("synthetic", "real"))
PHOTOS = ("img", "image", "images", "photo")
"""What the folder beside `label` may be called."""
OF_A_KIND = re.compile(
    r"(?<=[^/])(_gtFine_(labelIds|labelTrainIds|instanceIds|color)|_leftImg8bit|_(label|labels|mask|inst|instance|img|image|photo))$"
)
"""What the name of a file may end with to say which of several views of one scene it holds; the first are Cityscapes'."""
FITTING = (
    "it needs train/ with side-by-side images, or trainA/ and trainB/, or A/ and B/, or train_label/ and train_img/, or a .csv"
    " with the columns A and B; FOLDER_A,FOLDER_B joins any two folders"
)


class NoLayout(UserError):
    """A folder that is there holds images in none of the known layouts, or no images."""


@dataclass(frozen=True)
class Source:
    """One picture: a file, or one half of a file that holds two side by side. `name` is what partners share."""

    path: Path
    name: str
    half: Half | None = None


@dataclass(frozen=True)
class Sides:
    """The two sides of one split, each in order of name; and what may lie beside the label maps of one side, or the pairs."""

    a: Sequence[Source]
    b: Sequence[Source]
    instances: Sequence[Source] = ()
    region: Sequence[Source] = ()


@dataclass(frozen=True)
class Found:
    """A data set as it lies on the disk: its splits by name ("train" always), and one line that says how it was read."""

    layout: str
    splits: dict[str, Sides]
    said: str

    @property
    def held_out(self) -> Sides | None:
        """The split that training does not see, if there is one."""
        return self.splits.get("val") or self.splits.get("test")


def find(root: str | Path, layout: str = "auto") -> Found:
    """Read the layout of a folder, a manifest file, or "FOLDER_A,FOLDER_B".

    Raises UserError where nothing fits, with what lies there and the layouts that would fit.
    """
    if layout not in ("auto", *READERS):
        raise UserError(f"there is no layout '{layout}'", f"there are: auto, {', '.join(READERS)}")
    try:
        if both := joined(str(root)):
            return _must_be_two_folders(*both)
        for name in READERS if layout == "auto" else [layout]:
            found = READERS[name](Path(root), layout == "auto")
            if found:
                return found
        _refuse(Path(root), layout)
    except OSError as error:
        raise UserError(
            f"cannot read '{error.filename}': {error.strerror}", "check the name, who owns it and its mode"
        ) from error


def pairs(sides: Sides) -> tuple[list[tuple[Source, Source]], list[Source]]:
    """The (a, b) that share a name, in order of name, and every source that is left without a partner."""
    b_named = {b.name: b for b in sides.b}
    matched = [(a, b_named[a.name]) for a in sides.a if a.name in b_named]
    names = {a.name for a, _ in matched}
    return matched, [source for source in (*sides.a, *sides.b) if source.name not in names]


def held_back(sides: Sides, count: int, *, paired: bool) -> tuple[Sides, Sides]:
    """The sides without `count` images each, or pairs, and those. Which ones follows from their names, so that it is the same
    when others are added."""

    def rank(source: Source) -> bytes:
        return hashlib.sha256(source.name.encode(errors="surrogateescape")).digest()

    def kept(side: Sequence[Source], ranked: Sequence[Source]) -> tuple[list[Source], list[Source]]:
        chosen = sorted(range(len(side)), key=lambda i: rank(ranked[i]))[:count]
        inside = set(chosen)
        return [s for i, s in enumerate(side) if i not in inside], [s for i, s in enumerate(side) if i in inside]

    a, away_a = kept(sides.a, sides.a)
    b, away_b = kept(sides.b, sides.a if paired else sides.b)
    return replace(sides, a=a, b=b), replace(sides, a=away_a, b=away_b)


def bare(name: str) -> str:
    """A name without its ending of `OF_A_KIND`: "bonn_01_gtFine_labelIds" and "bonn_01_leftImg8bit" are partners."""
    return OF_A_KIND.sub("", name)


def beside(sources: Iterable[Source], others: Iterable[Source]) -> list[Source | None]:
    """For each source the one among the others that has its bare name, or that of its file, as a manifest's have."""
    named = {bare(other.name): other for other in others}
    return [named.get(bare(s.name)) or (None if "/" in s.name else named.get(bare(s.path.stem))) for s in sources]


def companions(sources: Sequence[Source], others: Iterable[Source], what: str) -> list[Source]:
    """`beside`, for each of them. Raises UserError where one is missing."""
    found = list(zip(sources, beside(sources, others), strict=True))
    if missing := [source for source, partner in found if partner is None]:
        raise UserError(
            f"{len(missing)} of {len(found)} pairs have no {what} of the same name, such as '{missing[0].path}'",
            f"each needs one; or remove all {what}s",
        )
    return [partner for _, partner in found if partner]


def in_folder(folder: Path, hint: str = "check the name", *, bare_names: bool = False) -> list[Source]:
    """The images of a folder and all below it, in order of name. Raises UserError where it is none, or holds none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'", hint)
    if not (found := _sources(folder, bare_names=bare_names)):
        raise UserError(f"'{folder}' holds no images", f"known are {' '.join(sorted(images.SUFFIXES))}")
    return found


def masks(folder: str | Path) -> list[Source]:
    """The images of a folder that goes beside others. Raises UserError where there are none."""
    return in_folder(Path(folder), "data.region is a folder of grey masks with the names of the pairs", bare_names=True)


def is_synthetic(sides: Sides) -> bool:
    """Whether the folders say that one side is synthetic and the other real."""
    both = [{folder.name for folder in source.path.parents} for source in (sides.a[0], sides.b[0])]
    return all(name in names for name, names in zip(NAMED_SIDES[1], both, strict=True))


def image_files(folder: Path, suffixes: Collection[str] = images.SUFFIXES) -> list[Path]:
    """Every image below a folder, in natural order (2 before 10). What is hidden and linked folders are left out."""
    files = []
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(where, n) for n in names if not n.startswith(".") and Path(n).suffix.lower() in suffixes]
    return sorted(files, key=lambda file: natural(str(file.relative_to(folder))))


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sorting key in which numbers count as numbers."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]


# Label maps


def _labels(root: Path, _: bool) -> Found | None:
    """train_label/ train_img/ [train_inst/] · train/label train/image [train/inst] · label/ image/ [inst/]. A is the label."""
    ways = [f"{{split}}{join}{{part}}" for join in ("_", "/")]
    return next((found for way in ways if (found := _with_labels(root, way, SPLITS))), _with_labels(root, "{part}", ["train"]))


def _with_labels(root: Path, way: str, splits: Iterable[str]) -> Found | None:
    """The splits whose folders are named in one `way` and have images on both sides; None unless train is among them."""
    found, said = {}, ""
    for split in splits:
        label, inst = (way.format(split=split, part=part) for part in ("label", "inst"))
        photo = next((p for part in PHOTOS if (root / (p := way.format(split=split, part=part))).is_dir()), None)
        if photo and (root / label).is_dir():
            things = _sources(root / inst, bare_names=True) if (root / inst).is_dir() else []
            sides = Sides(_sources(root / label, bare_names=True), _sources(root / photo, bare_names=True), things)
            if sides.a and sides.b:
                found[split] = sides
                with_things = f", with instances in '{inst}'" if things else ""
                said = said or f"label maps: '{label}' is A, '{photo}' is B{with_things}"
    return Found("labels", found, said) if "train" in found else None


# Two folders


def _two_folders(root: Path, _: bool) -> Found | None:
    """trainA/ trainB/ · train/A train/B · A/train B/train · A/ B/ · two folders of any name, in train/ or at the top."""
    inner, outer = _two_subfolders(root / "train"), _two_subfolders(root)
    found = _from_splits(root, lambda split: (f"{split}A", f"{split}B"))
    if not found and inner:
        found = _from_splits(root, lambda split: (f"{split}/{inner[0]}", f"{split}/{inner[1]}"))
    if not found and outer:
        found = _from_splits(root, lambda split: (f"{outer[0]}/{split}", f"{outer[1]}/{split}"))
    if not found and outer:
        found = _from_splits(root, lambda split: outer, splits=("train",))
    return found


def _two_subfolders(folder: Path) -> tuple[str, str] | None:
    """The names of the two sides in a folder: known ones among others, or those of the only two folders, in order of name."""
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")) if folder.is_dir() else []
    for a, b in NAMED_SIDES:
        if {a, b} <= set(names):
            return a, b
    splits = {f"{split}{side}" for split in SPLITS for side in ("", "A", "B")}
    return (names[0], names[1]) if len(names) == 2 and not set(names) & splits else None


def _from_splits(root: Path, sides: Callable[[str], tuple[str, str]], splits: Iterable[str] = SPLITS) -> Found | None:
    """Two folders for each split, whose names `sides` knows; None unless there is something to train on."""
    found = {}
    for split in splits:
        a, b = (root / name for name in sides(split))
        if a.is_dir() and b.is_dir():
            found[split] = Sides(_sources(a), _sources(b))
    found = {split: sides for split, sides in found.items() if sides.a and sides.b}
    a_name, b_name = sides("train")
    return Found("two-folders", found, f"two folders: '{a_name}' is A, '{b_name}' is B") if "train" in found else None


def joined(root: str) -> tuple[Path, Path] | None:
    """The two of "FOLDER_A,FOLDER_B". A folder's own name may hold commas, so the split that exists wins."""
    if "," not in root or Path(root).exists():
        return None
    parts = root.split(",")
    ways = [(Path(",".join(parts[:i])), Path(",".join(parts[i:]))) for i in range(1, len(parts))]
    return next(((a, b) for a, b in ways if a.exists() and b.exists()), ways[0])


def _must_be_two_folders(a: Path, b: Path) -> Found:
    sides = [in_folder(folder, "FOLDER_A,FOLDER_B names two folders, without a space between") for folder in (a, b)]
    return Found("two-folders", {"train": Sides(*sides)}, f"two folders: '{a}' is A, '{b}' is B")


def _sources(folder: Path, *, bare_names: bool = False) -> list[Source]:
    """The images of one side; a.jpg and a.png in one folder would both be `a`, so they keep their suffix."""
    files = image_files(folder)
    # macOS writes accents as two characters, other systems as one
    names = [unicodedata.normalize("NFC", file.relative_to(folder).as_posix()) for file in files]
    stems = [name.removesuffix(file.suffix) for name, file in zip(names, files, strict=True)]
    stems = [bare(stem) for stem in stems] if bare_names else stems
    count = Counter(stems)
    return [Source(file, stem if count[stem] == 1 else name) for file, stem, name in zip(files, stems, names, strict=True)]


# Side by side


def _side_by_side(root: Path, guessing: bool) -> Found | None:
    """train/ [val/ test/] with images that hold A left and B right; or a bare folder of such images."""
    if not root.is_dir():
        return None
    bare = not (root / "train").is_dir()
    folders = {"train": root} if bare else {split: root / split for split in SPLITS if (root / split).is_dir()}
    splits = {split: _sources(folder) for split, folder in folders.items()}
    if bare:  # what lies deeper may be anything, such as trainA/ without its trainB/
        splits["train"] = [source for source in splits["train"] if source.path.parent == root]
    if not splits["train"] or (guessing and not _look_double(splits["train"])):
        return None
    halves = {split: _halves(sources) for split, sources in splits.items() if sources}
    return Found("side-by-side", halves, "side by side: A is the left half, B the right half")


def _look_double(sources: Sequence[Source]) -> bool:
    """Whether most of a few images are clearly wider than high. Files that cannot be read have no say."""
    sizes = []
    for source in sources[:: max(1, len(sources) // 9)]:
        try:
            header = images.header(source.path)
        except images.ImageError:
            continue
        sizes.append(header.width >= 1.25 * header.height)
    return 2 * sum(sizes) >= len(sizes)


def _halves(sources: Iterable[Source]) -> Sides:
    sources = list(sources)
    return Sides([Source(s.path, s.name, "left") for s in sources], [Source(s.path, s.name, "right") for s in sources])


# Manifests


def _manifest(root: Path, _: bool) -> Found | None:
    """A .csv or .jsonl with the columns A and B (paths, relative to the file), and perhaps `split`."""
    if root.suffix.lower() not in (".csv", ".jsonl") or not root.is_file():
        return None
    splits: dict[str, tuple[list[Source], list[Source]]] = {}
    for number, row in enumerate(_rows(root), start=1):
        a, b, split = _row(row, f"row {number} of '{root}'")
        sides = splits.setdefault(split, ([], []))
        for side, path in zip(sides, (a, b), strict=True):
            side.append(Source(root.parent / path, f"{number:09d}"))
    if "train" not in splits:
        raise UserError(f"'{root}' has no row to train on", "every row names two images, in the columns A and B")
    return Found(
        "manifest", {split: Sides(*sides) for split, sides in splits.items()}, f"manifest: columns A and B of '{root.name}'"
    )


def _row(row: object, where: str) -> tuple[str, str, str]:
    """A, B and the split of one row."""
    values = row if isinstance(row, dict) else {}
    a, b, split = (values.get(column) or "" for column in ("A", "B", "split"))
    if not (a and b and isinstance(a, str) and isinstance(b, str)):
        raise UserError(f"{where} lacks A or B", "every row names two images, in the columns A and B")
    if split not in ("", *SPLITS):
        raise UserError(
            f"{where} is for the split '{split}'", f"splits are {', '.join(SPLITS)}; a row without one is for train"
        )
    return a, b, split or "train"


def _rows(path: Path) -> Iterable[object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        return list(csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the manifest '{path}': {error}", "save it as UTF-8 text") from None


# In the order in which they are tried; each gets the root, and whether it is only a guess
READERS: dict[str, Callable[[Path, bool], Found | None]] = {
    "labels": _labels,
    "two-folders": _two_folders,
    "side-by-side": _side_by_side,
    "manifest": _manifest,
}


# What lies there instead


def _refuse(root: Path, layout: str) -> NoReturn:
    if not root.exists():
        raise UserError(f"there is no folder '{root}'", "i2i data list shows the data sets known by name")
    if root.is_file():
        raise UserError(f"'{root}' is a file, not a data set", FITTING)
    as_what = "" if layout == "auto" else f" as '{layout}'"
    raise NoLayout(f"'{root}' holds no layout that can be trained on{as_what}: {_contents(root)}", FITTING)


def _contents(root: Path) -> str:
    """How many images lie where in a folder, in a few words."""
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    inside = [f"{len(image_files(folder))} in {folder.name}/" for folder in folders]
    direct = sum(file.parent == root for file in image_files(root))
    more = f" and {len(inside) - 6} more folders" if len(inside) > 6 else ""
    return f"images: {', '.join([str(direct), *inside[:6]])}{more}"


def _raise(error: OSError) -> NoReturn:
    raise error
