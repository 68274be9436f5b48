"""Which file becomes which: every input and the name of its output, all decided and checked before the first write."""

import os
import stat
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
UNTOUCHED = "choose another --out: inputs are never changed"


@dataclass(frozen=True)
class Input:
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


def plan(given: Sequence[str | Path], out: Path, y: Domain, format: FormatName | None, existing: Existing) -> list[Job]:
    """One job for every image that is `given` (files, folders, patterns), with outputs that can hold the values of `y`.

    Raises UserError where two images would get one name, where an output would touch an input, and where outputs exist
    that may be neither skipped nor replaced; NothingDone where there is no image.
    """
    inputs = [input for text in given for input in _inputs(text)]
    if not inputs:
        raise NothingDone(f"there is no image in {_listed(given)}", f"known are {' '.join(sorted(images.SUFFIXES))}")
    outputs = _outputs(inputs, out, y, format)
    pairs = {(input.path.absolute(), output): input for input, output in zip(inputs, outputs, strict=True)}  # each once
    _refuse_touching_inputs(inputs, outputs, out)
    there = {output for output in outputs if os.path.lexists(output)}
    if there and existing == "refuse":
        raise UserError(
            f"{len(there)} of {len(pairs)} outputs exist already, such as '{min(there)}'",
            "--skip-existing leaves them and does the rest, --overwrite replaces them",
        )
    notes = _notes(out, y, format)
    return [
        Job(input.path, output, existing == "skip" and output in there, notes if input.path.suffix != output.suffix else ())
        for (_, output), input in pairs.items()
    ]


def make_folders(jobs: Iterable[Job]) -> None:
    """Make every folder that the jobs will write to, and clear away what killed processes left there."""
    for folder in {job.output.parent for job in jobs if not job.skip}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder '{folder}': {error.strerror}", "choose another --out") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"cannot write into '{folder}': permission denied", "choose another --out")
        atomic.sweep(folder)


# Inputs


def _inputs(text: str | Path) -> list[Input]:
    """What a path or a pattern stands for. A file whose name looks like a pattern is a file."""
    path = Path(text)
    if path.is_dir():
        return [Input(file, file.relative_to(path), path) for file in image_files(path)]
    if os.path.lexists(path):
        return [Input(path, Path(path.name))]
    if any(mark in str(text) for mark in "*?["):
        return _matches(path)
    raise UserError(f"there is no file or folder '{text}'", "check the name; patterns have a *, ? or [ in them")


def _matches(pattern: Path) -> list[Input]:
    """Images that fit the pattern, hidden ones left out. The tree starts at the first folder that is itself a pattern.

    Path.glob does not follow links to folders with `**`, so loops of links end.
    """
    fixed = next(i for i, part in enumerate(pattern.parts) if any(mark in part for mark in "*?["))
    root, rest = Path(*pattern.parts[:fixed]), str(Path(*pattern.parts[fixed:]))
    found = sorted((f.relative_to(root) for f in root.glob(rest)), key=lambda f: natural(str(f)))
    shown = [f for f in found if not any(part.startswith(".") for part in f.parts)]
    whole = root if "**" in rest else None
    return [Input(root / f, f, whole) for f in shown if f.suffix.lower() in images.SUFFIXES and not (root / f).is_dir()]


# Outputs


def _outputs(inputs: list[Input], out: Path, y: Domain, format: FormatName | None) -> list[Path]:
    """The output of each input. Raises UserError for a kind of file that cannot hold the values of `y`."""
    if _is_file_name(out):
        _check_one_file(out, inputs, format)
        suffixes = [out.suffix]
    else:
        suffixes = [_suffix(input.path, y, format) for input in inputs]
    for suffix in {suffix.lower() for suffix in suffixes}:
        if not _holds(suffix, y):
            what = f"{y.dtype} with {y.channels} channels"
            raise UserError(f"{FORMATS[suffix].name} cannot hold the model's output ({what})", "--format tiff can")
    return [out] if _is_file_name(out) else [out / name for name in _names(inputs, suffixes)]


def _suffix(path: Path, y: Domain, format: FormatName | None) -> str:
    if format == "keep" and path.suffix.lower() in images.WRITABLE:
        return path.suffix
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


def _check_one_file(out: Path, inputs: list[Input], format: FormatName | None) -> None:
    if len(inputs) > 1 or inputs[0].folder:
        raise UserError(f"'{out}' is the name of one file, but the input is a folder or several images", "give --out a folder")
    if out.suffix.lower() not in images.WRITABLE:
        raise UserError(f"cannot write {out.suffix} files", f"known are {' '.join(sorted(images.WRITABLE))}")
    if format not in (None, "keep") and FORMATS[f".{format}"] != FORMATS[out.suffix.lower()]:
        raise UserError(f"'{out}' and --format {format} contradict each other", "leave --format out")


def _names(inputs: list[Input], suffixes: list[str]) -> list[Path]:
    """The tree of the inputs. Where two would get one name (a.jpg and a.png), both keep their suffix (a.jpg.png).

    Names that differ in case only count as one here, since they are one on some disks.
    """
    whole: set[Input] = set()
    while True:
        stems = [input.relative.name if input in whole else input.relative.stem for input in inputs]
        names = [input.relative.with_name(stem + suffix) for input, stem, suffix in zip(inputs, stems, suffixes, strict=True)]
        owners: dict[str, set[Input]] = {}
        for input, name in zip(inputs, names, strict=True):
            owners.setdefault(str(name).casefold(), set()).add(input)
        crowded = {input for several in owners.values() if len(several) > 1 for input in several}
        if crowded <= whole:
            _refuse_one_name_for_two(inputs, names)
            return names
        whole |= crowded


def _refuse_one_name_for_two(inputs: list[Input], names: list[Path]) -> None:
    first: dict[Path, Input] = {}
    for input, name in zip(inputs, names, strict=True):
        other = first.setdefault(name, input)
        if other.path.absolute() != input.path.absolute():
            raise UserError(
                f"'{other.path}' and '{input.path}' would both become '{name}'",
                "translate the folder that holds both, or use two commands with different --out",
            )


# Refusals


def _refuse_touching_inputs(inputs: list[Input], outputs: list[Path], out: Path) -> None:
    """Raise UserError where an output is an input, or lies in a folder that is an input as a whole; links are followed."""
    folders = {folder.resolve(): folder for folder in {input.folder for input in inputs} if folder}
    for parent in {parent.resolve() for parent in {output.parent for output in outputs}}:
        for folder in (parent, *parent.parents):
            if folder in folders:
                raise UserError(f"'{out}' lies in the input folder '{folders[folder]}'", UNTOUCHED)
            if folder.exists() and not folder.is_dir():
                raise UserError(f"'{folder}' is a file, but outputs would lie in it", "choose another --out")
    own = {_identity(input.path): input.path for input in inputs}
    for output in outputs:
        if (identity := _identity(output)) and identity in own:
            raise UserError(f"'{output}' would replace the input '{own[identity]}'", UNTOUCHED)


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file share. None for what is not there, and for folders."""
    try:
        found = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)


def _listed(given: Sequence[str | Path]) -> str:
    return ", ".join(f"'{text}'" for text in given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")
