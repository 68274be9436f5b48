"""Which file becomes which: every input and the name of its output, all decided and checked before the first write."""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from i2i import atomic, images
from i2i.data.folders import Source, beside, image_files, natural
from i2i.domain import Domain
from i2i.encoders import FORMATS, Format
from i2i.errors import NothingDone, UserError
from i2i.movies import MOVIES

FormatName = Literal["keep", "png", "jpg", "webp", "tiff", "bmp", "gif", "mp4"]
Existing = Literal["refuse", "skip", "overwrite"]
UNTOUCHED = "choose another --out: inputs are never changed"
TWICE = "translate the folder that holds both, or use two commands with different --out"
KINDS = FORMATS | MOVIES


@dataclass(frozen=True)
class Input:
    """One image; `relative` is its place in the tree under the output. `folder` is the whole folder that it was found in."""

    path: Path
    relative: Path
    folder: Path | None = None


@dataclass(frozen=True)
class Output:
    """One file to write, or to leave alone since it is `there`. `copies`: what is copied beside it, from where to where."""

    path: Path
    there: bool = False
    copies: tuple[tuple[Path, Path], ...] = ()


@dataclass(frozen=True)
class Job:
    """One image and what becomes of it. `relative` is its place in the tree; `notes` are words about its outputs' names."""

    input: Path
    relative: Path
    outputs: tuple[Output, ...]
    notes: tuple[str, ...] = ()
    instances: Path | None = None

    @property
    def skip(self) -> bool:
        """Whether there is nothing to translate."""
        return all(output.there for output in self.outputs)


def plan(
    given: Sequence[str | Path],
    out: Path,
    y: Domain,
    format: FormatName | None,
    existing: Existing,
    *,
    count: int | None = None,
    movie: bool = False,
    annotations: bool = False,
    instances: Path | None = None,
) -> list[Job]:
    """One job for every image that is `given` (files, folders, patterns), with outputs that can hold the values of `y`.

    Each has one output, which may be a `movie`, or `count` numbered ones. `annotations`: what is noted about an input goes
    along. `instances` is the folder of the instance maps. Raises UserError where two files would get one name, where one would
    touch an input, and where outputs exist that may be neither skipped nor replaced; NothingDone where there is no image.
    """
    inputs = [input for text in given for input in _inputs(text)]
    if not inputs:
        raise NothingDone(f"there is no image in {_listed(given)}", f"known are {' '.join(sorted(images.SUFFIXES))}")
    first = _outputs(inputs, out, y, format, KINDS if movie else FORMATS)
    pairs = {(input.path.absolute(), output): input for input, output in zip(inputs, first, strict=True)}  # each once
    notes, noted = _notes(out, y, format), _annotations(pairs.values()) if annotations else {}
    jobs = [
        Job(
            input.path,
            input.relative,
            tuple(Output(path, copies=_copies(noted.get(input.path, []), path)) for path in _numbered(output, count)),
            notes if input.path.suffix != output.suffix else (),
        )
        for (_, output), input in pairs.items()
    ]
    jobs = _with_instances(jobs, instances) if instances else jobs
    _refuse_touching_inputs(inputs, jobs, out)
    return _with_what_is_there(jobs, existing)


def _with_what_is_there(jobs: list[Job], existing: Existing) -> list[Job]:
    wanted = [path for job in jobs for path in _written(job)]
    there = {path for path in wanted if os.path.lexists(path)}
    if there and existing == "refuse":
        raise UserError(
            f"{len(there)} of {len(wanted)} outputs exist already, such as '{min(there)}'",
            "--skip-existing leaves them and does the rest, --overwrite replaces them",
        )
    if not there or existing == "overwrite":
        return jobs
    return [replace(job, outputs=tuple(_left(output, there) for output in job.outputs)) for job in jobs]


def _left(output: Output, there: set[Path]) -> Output:
    return Output(output.path, output.path in there, tuple(copy for copy in output.copies if copy[1] not in there))


def _written(job: Job) -> list[Path]:
    return [path for output in job.outputs for path in (output.path, *(to for _, to in output.copies))]


def make_folders(jobs: Iterable[Job]) -> None:
    """Make every folder that the jobs will write to, and clear away what killed processes left there."""
    for folder in {output.path.parent for job in jobs for output in job.outputs if output.copies or not output.there}:
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


def _outputs(inputs: list[Input], out: Path, y: Domain, format: FormatName | None, kinds: Mapping[str, Format]) -> list[Path]:
    """The output of each input, without a number. Raises UserError for a kind of file that cannot hold the values of `y`."""
    if format not in (None, "keep") and f".{format}" not in kinds:
        raise UserError(f"one image is no {KINDS[f'.{format}'].name}", "--interpolate 8 --samples 4 makes many of each input")
    if _is_file_name(out):
        _check_one_file(out, inputs, format, kinds)
        suffixes = [out.suffix]
    else:
        suffixes = [_suffix(input.path, y, format) for input in inputs]
    for suffix in {suffix.lower() for suffix in suffixes}:
        if not _holds(suffix, y):
            what = f"{y.dtype} with {y.channels} channels"
            raise UserError(f"{KINDS[suffix].name} cannot hold the model's output ({what})", "--format tiff can")
    return [out] if _is_file_name(out) else [out / name for name in _names(inputs, suffixes)]


def _numbered(output: Path, count: int | None) -> list[Path]:
    """a.png, or a_0.png, a_1.png, …: names of two inputs differ in what stands before the number, so these differ too."""
    return [output] if count is None else [output.with_name(f"{output.stem}_{n}{output.suffix}") for n in range(count)]


def _suffix(path: Path, y: Domain, format: FormatName | None) -> str:
    if format == "keep" and path.suffix.lower() in images.WRITABLE:
        return path.suffix
    if format in (None, "keep"):
        return ".png" if _holds(".png", y) else ".tiff"
    return f".{format}"


def _holds(suffix: str, y: Domain) -> bool:
    return y.dtype in KINDS[suffix].dtypes and (y.channels in (1, 3) or KINDS[suffix].name == "TIFF")


def _notes(out: Path, y: Domain, format: FormatName | None) -> tuple[str, ...]:
    """A word about a kind of file that nobody has asked for."""
    if _is_file_name(out) or format not in (None, "keep") or _holds(".png", y):
        return ()
    return (f"written as TIFF, since PNG cannot hold {y.dtype} with {y.channels} channels",)


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() in images.SUFFIXES | MOVIES.keys() and not out.is_dir()


def _check_one_file(out: Path, inputs: list[Input], format: FormatName | None, kinds: Mapping[str, Format]) -> None:
    if len(inputs) > 1 or inputs[0].folder:
        raise UserError(f"'{out}' is the name of one file, but the input is a folder or several images", "give --out a folder")
    if out.suffix.lower() not in kinds:
        raise UserError(f"cannot write {out.suffix} files", f"known are {' '.join(sorted(kinds))}")
    if format not in (None, "keep") and kinds[f".{format}"] != kinds[out.suffix.lower()]:
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
            raise UserError(f"'{other.path}' and '{input.path}' would both become '{name}'", TWICE)


# What lies beside the inputs


def _annotations(inputs: Iterable[Input]) -> dict[Path, list[Path]]:
    """For each image every file beside it that has its stem and is no image."""
    found: dict[Path, list[Path]] = {}
    for folder in {input.path.parent for input in inputs}:
        try:
            files = sorted(f for f in folder.iterdir() if f.suffix.lower() not in images.SUFFIXES and f.is_file())
        except OSError as error:
            raise UserError(f"cannot look for annotations in '{folder}': {error.strerror}", "check its mode") from None
        for file in files:
            found.setdefault(file.with_suffix(""), []).append(file)
    return {input.path: found.get(input.path.with_suffix(""), []) for input in inputs}


def _copies(annotations: Iterable[Path], output: Path) -> tuple[tuple[Path, Path], ...]:
    """From where to where; nothing that is there already since the output lies beside its input."""
    copies = [(file, output.with_suffix(file.suffix)) for file in annotations]
    return tuple((file, to) for file, to in copies if to.absolute() != file.absolute())


def _with_instances(jobs: list[Job], folder: Path) -> list[Job]:
    """Jobs that know their instance maps, as far as there are any: those of their place and name, as in training."""
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'", "--instances is the folder of the instance maps")
    maps = [Source(file, _place(file.relative_to(folder))) for file in image_files(folder)]
    found = beside([Source(job.input, _place(job.relative)) for job in jobs], maps)
    return [replace(job, instances=source.path if source else None) for job, source in zip(jobs, found, strict=True)]


def _place(path: Path) -> str:
    return path.with_suffix("").as_posix()


# Refusals


def _refuse_touching_inputs(inputs: list[Input], jobs: list[Job], out: Path) -> None:
    """Raise UserError where a file to write is an input, or lies in a folder that is an input as a whole; links are followed.

    What lies beside the inputs and is read with them is an input too.
    """
    outputs = {path for job in jobs for path in _written(job)}
    folders = {folder.resolve(): folder for folder in {input.folder for input in inputs} if folder}
    for parent in {parent.resolve() for parent in {output.parent for output in outputs}}:
        for folder in (parent, *parent.parents):
            if folder in folders:
                raise UserError(f"'{out}' lies in the input folder '{folders[folder]}'", UNTOUCHED)
            if folder.exists() and not folder.is_dir():
                raise UserError(f"'{folder}' is a file, but outputs would lie in it", "choose another --out")
    own = {_identity(path): path for job in jobs for path in _read(job)}
    for output in outputs:
        if (identity := _identity(output)) and identity in own:
            raise UserError(f"'{output}' would replace the input '{own[identity]}'", UNTOUCHED)
    _refuse_one_copy_of_two(jobs)


def _refuse_one_copy_of_two(jobs: list[Job]) -> None:
    first: dict[str, Path] = {}
    for file, to in (copy for job in jobs for output in job.outputs for copy in output.copies):
        other = first.setdefault(str(to).casefold(), file)
        if other.absolute() != file.absolute():
            raise UserError(f"'{other}' and '{file}' would both become '{to}'", TWICE)


def _read(job: Job) -> list[Path]:
    copied = [file for output in job.outputs for file, _ in output.copies]
    return [job.input, *copied, *([job.instances] if job.instances else [])]


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file share. None for what is not there, and for folders."""
    try:
        found = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)


def _listed(given: Sequence[str | Path]) -> str:
    return ", ".join(f"'{text}'" for text in given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")
