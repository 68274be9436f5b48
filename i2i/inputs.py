"""Which images and videos: what files, folders, patterns and lists stand for, and the part of them that one process does."""

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2i import images, video
from i2i.data.folders import image_files, natural
from i2i.errors import NothingDone, UserError

SUFFIXES = images.SUFFIXES | video.SUFFIXES
JUNK = ("Thumbs.db", "desktop.ini", ".DS_Store")


@dataclass(frozen=True)
class Input:
    """One image or video; `relative` is its place in the tree under the output, `folder` the whole folder it was found in."""

    path: Path
    relative: Path
    folder: Path | None = None

    @property
    def is_video(self) -> bool:
        return video.is_video(self.path)


def find(given: Sequence[str | Path]) -> list[Input]:
    """What files, folders and patterns stand for, in natural order; what is named twice is there once.

    Raises UserError for what is not there, NothingDone where there is no image.
    """
    inputs = [input for text in given for input in _inputs(text)]
    if not inputs:
        raise NothingDone(f"there is no image in {_several(given)}", f"known are {' '.join(sorted(SUFFIXES))}")
    return _each_once(inputs)


def listed(source: str | Path, given: Sequence[str | Path] = (), *, null: bool = False) -> list[Input]:
    """The files that a list names, one a line or, with `null`, each with a zero byte behind it; "-" is stdin.

    They keep the place that they have in the folders that are `given`; without any, the path as it is written, or of an
    absolute one the name. What systems put beside the files of people is left out.
    """
    end = b"\0" if null else b"\n"
    names = [os.fsdecode(name.removesuffix(b"\r") if not null else name) for name in _content(source).split(end)]
    paths = [Path(name) for name in names if name]
    inputs = [_placed(path, [Path(folder) for folder in given]) for path in paths if not _is_junk(path.name)]
    if not inputs:
        raise NothingDone(f"'{source}' names no file", "one on each line; or with -0 each with a zero byte behind it")
    return _each_once(inputs)


def _inputs(text: str | Path) -> list[Input]:
    """What a path or a pattern stands for. A file whose name looks like a pattern is a file."""
    path = Path(text)
    if path.is_dir():
        return [Input(file, file.relative_to(path), path) for file in image_files(path, SUFFIXES)]
    if os.path.lexists(path):
        return [Input(path, Path(path.name))]
    if any(mark in str(text) for mark in "*?["):
        return _matches(path)
    raise UserError(f"there is no file or folder '{text}'", "check the name; patterns have a *, ? or [ in them")


def _matches(pattern: Path) -> list[Input]:
    """What fits the pattern, hidden files left out. The tree starts at the first folder that is itself a pattern.

    Path.glob does not follow links to folders with `**`, so loops of links end.
    """
    fixed = next(i for i, part in enumerate(pattern.parts) if any(mark in part for mark in "*?["))
    root, rest = Path(*pattern.parts[:fixed]), str(Path(*pattern.parts[fixed:]))
    found = sorted((f.relative_to(root) for f in root.glob(rest)), key=lambda f: natural(str(f)))
    shown = [f for f in found if not any(part.startswith(".") for part in f.parts)]
    whole = root if "**" in rest else None
    return [Input(root / f, f, whole) for f in shown if f.suffix.lower() in SUFFIXES and not (root / f).is_dir()]


def _content(source: str | Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(source) == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the list '{source}': {error.strerror}", "a file of names, or - for stdin") from None


def _placed(path: Path, folders: Sequence[Path]) -> Input:
    whole = path.parent.resolve() / path.name  # the last part may be a link, and is what is meant
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"'{folder}' is no folder", "beside a list of files, inputs are the folders that these lie in")
        if whole.is_relative_to(folder.resolve()):
            return Input(path, whole.relative_to(folder.resolve()))
    if folders:
        raise UserError(f"'{path}' lies in none of {_several(folders)}", "name the folder that it lies in too, or none at all")
    return Input(path, Path(path.name) if path.is_absolute() or ".." in path.parts else path)


def _is_junk(name: str) -> bool:
    return name in JUNK or name.startswith("._")


def _each_once(inputs: Sequence[Input]) -> list[Input]:
    return list({(input.path.absolute(), input.relative): input for input in inputs}.values())


def _several(given: Sequence[str | Path]) -> str:
    return ", ".join(f"'{text}'" for text in given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the images, numbered from 1. Which part an image is in depends on its place in the tree alone."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> "Shard":
        """Of "2/8"; or "auto": as torchrun or SLURM has numbered this process. Raises UserError."""
        if text == "auto":
            return cls._of_process(environment)
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UserError(f"'{text}' is no part of the images", "1/8 to 8/8 are eight parts; auto asks torchrun or SLURM")
        return cls(int(number), int(count))

    @classmethod
    def _of_process(cls, environment: Mapping[str, str]) -> "Shard":
        for number, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if number in environment and count in environment:
                return cls(int(environment[number]) + 1, int(environment[count]))
        raise UserError("neither torchrun nor SLURM has numbered this process", "name the part of the images, as in 2/8")

    def has(self, place: Path) -> bool:
        digest = hashlib.sha256(os.fsencode(place.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1
