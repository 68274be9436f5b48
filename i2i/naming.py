"""Which file becomes which: every input and the name of its output, all decided and checked before the first write."""

import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i import atomic, images
from i2i.data.folders import image_files, natural
from i2i.domain import Domain
from i2i.encoders import FORMATS
from i2i.errors import NothingDone, UserError

FormatName = Literal["keep", "png", "jpg", "webp", "tiff", "bmp"]
Existing = Literal["refuse", "skip", "overwrite"]
STALE = 3600  # seconds after which nobody is still writing a temporary file; a younger one may belong to another process
UNTOUCHED = "choose another --out: inputs are never changed"


@dataclass(frozen=True)
class Source:
    """One image; `relative` is its place in the tree under the output. `folder` is the whole folder that it was found in."""

    path: Path
    relative: Path
    folder: Path | None = None


@dataclass(frozen=True)
class Job:
    """One image to translate, or to `skip` since its output is there. `notes` are words about the output's name."""

    input: Path
    output: Path
    skip: bool = False
    notes: tuple[str, ...] = ()


def plan(inputs: Sequence[str | Path], out: Path, y: Domain, format: FormatName | None, existing: Existing) -> list[Job]:
    """One job for every image in `inputs` (files, folders, patterns), with outputs that can hold the values of `y`.

    Raises UserError where two images would get one name, where an output would touch an input, and where outputs exist
    that may be neither skipped nor replaced; NothingDone where there is no image.
    """
    sources = [source for text in inputs for source in _sources(text)]
    if not sources:
        raise NothingDone(f"there is no image in {_listed(inputs)}", f"known are {' '.join(sorted(images.SUFFIXES))}")
    outputs = _outputs(sources, out, y, format)
    pairs = {(source.path.absolute(), output): source for source, output in zip(sources, outputs, strict=True)}  # each once
    _refuse_touching_inputs(sources, outputs, out)
    there = {output for output in outputs if os.path.lexists(output)}
    if there and existing == "refuse":
        raise UserError(
            f"{len(there)} of {len(pairs)} outputs exist already, such as '{min(there)}'",
            "--skip-existing leaves them and does the rest, --overwrite replaces them",
        )
    notes = _notes(out, y, format)
    return [
        Job(source.path, output, existing == "skip" and output in there, notes if source.path.suffix != output.suffix else ())
        for (_, output), source in pairs.items()
    ]


def make_folders(jobs: Iterable[Job]) -> None:
    """Make every folder that the jobs will write to, and clear away what killed processes left there long ago."""
    for folder in {job.output.parent for job in jobs if not job.skip}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder '{folder}': {error.strerror}") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"cannot write into '{folder}': permission denied", "choose another --out")
        for left in folder.glob(f"{atomic.MARK}*"):
            if time.time() - left.lstat().st_mtime > STALE:
                left.unlink(missing_ok=True)


# Inputs


def _sources(text: str | Path) -> list[Source]:
    """What a path or a pattern stands for. A file whose name looks like a pattern is a file."""
    path = Path(text)
    if path.is_dir():
        return [Source(file, file.relative_to(path), path) for file in image_files(path)]
    if os.path.lexists(path):
        return [Source(path, Path(path.name))]
    if any(mark in str(text) for mark in "*?["):
        return _matches(path)
    raise UserError(f"there is no file or folder '{text}'")


def _matches(pattern: Path) -> list[Source]:
    """Images that fit the pattern, hidden ones left out. The tree starts at the first folder that is itself a pattern.

    Path.glob does not follow links to folders with `**`, so loops of links end.
    """
    fixed = next(i for i, part in enumerate(pattern.parts) if any(mark in part for mark in "*?["))
    root, rest = Path(*pattern.parts[:fixed]), str(Path(*pattern.parts[fixed:]))
    found = sorted((f.relative_to(root) for f in root.glob(rest)), key=lambda f: natural(str(f)))
    shown = [f for f in found if not any(part.startswith(".") for part in f.parts)]
    whole = root if "**" in rest else None
    return [Source(root / f, f, whole) for f in shown if f.suffix.lower() in images.SUFFIXES and not (root / f).is_dir()]


# Outputs


def _outputs(sources: list[Source], out: Path, y: Domain, format: FormatName | None) -> list[Path]:
    """The output of each source. Raises UserError for a kind of file that cannot hold the values of `y`."""
    if _is_file_name(out):
        _check_one_file(out, sources, format)
        suffixes = [out.suffix]
    else:
        suffixes = [_suffix(source.path, y, format) for source in sources]
    for suffix in {suffix.lower() for suffix in suffixes}:
        if not _holds(suffix, y):
            what = f"{y.dtype} with {y.channels} channels"
            raise UserError(f"{FORMATS[suffix].name} cannot hold the model's output ({what})", "--format tiff can")
    return [out] if _is_file_name(out) else [out / name for name in _names(sources, suffixes)]


def _suffix(source: Path, y: Domain, format: FormatName | None) -> str:
    if format == "keep" and source.suffix.lower() in images.WRITABLE:
        return source.suffix
    if format in (None, "keep"):
        return ".png" if _holds(".png", y) else ".tiff"
    return f".{format}"


def _holds(suffix: str, y: Domain) -> bool:
    return y.dtype in FORMATS[suffix].dtypes and (y.channels in (1, 3) or FORMATS[suffix].name == "TIFF")


def _notes(out: Path, y: Domain, format: FormatName | None) -> tuple[str, ...]:
    """A word about a kind of file that nobody has asked for."""
    if _is_file_name(out) or format not in (None, "keep") or _holds(".png", y):
        return ()
    return (f"written as TIFF, since PNG cannot hold {y.dtype} with {y.channels} channels",)


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() in images.SUFFIXES and not out.is_dir()


def _check_one_file(out: Path, sources: list[Source], format: FormatName | None) -> None:
    if len(sources) > 1 or sources[0].folder:
        raise UserError(f"'{out}' is the name of one file, but the input is a folder or several images", "give --out a folder")
    if out.suffix.lower() not in images.WRITABLE:
        raise UserError(f"cannot write {out.suffix} files", f"known are {' '.join(sorted(images.WRITABLE))}")
    if format not in (None, "keep") and FORMATS[f".{format}"] != FORMATS[out.suffix.lower()]:
        raise UserError(f"'{out}' and --format {format} contradict each other", "leave --format out")


def _names(sources: list[Source], suffixes: list[str]) -> list[Path]:
    """The tree of the sources. Where two would get one name (a.jpg and a.png), both keep their suffix (a.jpg.png).

    Names that differ in case only count as one here, since they are one on some disks.
    """
    whole: set[Source] = set()
    while True:
        stems = [source.relative.name if source in whole else source.relative.stem for source in sources]
        names = [
            source.relative.with_name(stem + suffix) for source, stem, suffix in zip(sources, stems, suffixes, strict=True)
        ]
        owners: dict[str, set[Source]] = {}
        for source, name in zip(sources, names, strict=True):
            owners.setdefault(str(name).casefold(), set()).add(source)
        crowded = {source for several in owners.values() if len(several) > 1 for source in several}
        if crowded <= whole:
            _refuse_one_name_for_two(sources, names)
            return names
        whole |= crowded


def _refuse_one_name_for_two(sources: list[Source], names: list[Path]) -> None:
    first: dict[Path, Source] = {}
    for source, name in zip(sources, names, strict=True):
        other = first.setdefault(name, source)
        if other.path.absolute() != source.path.absolute():
            raise UserError(
                f"'{other.path}' and '{source.path}' would both become '{name}'",
                "translate the folder that holds both, or use two commands with different --out",
            )


# Refusals


def _refuse_touching_inputs(sources: list[Source], outputs: list[Path], out: Path) -> None:
    """Raise UserError where an output is an input, or lies in a folder that is an input as a whole; links are followed."""
    folders = {folder.resolve(): folder for folder in {source.folder for source in sources} if folder}
    for parent in {parent.resolve() for parent in {output.parent for output in outputs}}:
        for folder in (parent, *parent.parents):
            if folder in folders:
                raise UserError(f"'{out}' lies in the input folder '{folders[folder]}'", UNTOUCHED)
            if folder.exists() and not folder.is_dir():
                raise UserError(f"'{folder}' is a file, but outputs would lie in it", "choose another --out")
    inputs = {_identity(source.path): source.path for source in sources}
    for output in outputs:
        if (own := _identity(output)) and own in inputs:
            raise UserError(f"'{output}' would replace the input '{inputs[own]}'", UNTOUCHED)


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file share. None for what is not there, and for folders."""
    try:
        found = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)


def _listed(inputs: Sequence[str | Path]) -> str:
    return ", ".join(f"'{text}'" for text in inputs[:3]) + (f" and {len(inputs) - 3} more" if len(inputs) > 3 else "")
