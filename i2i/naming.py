"""Which file becomes which: every input and the name of its output, all decided and checked before the first write."""

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Literal

from i2i import atomic, images, video
from i2i.data.folders import Source, beside, image_files
from i2i.domain import Domain
from i2i.encoders import FORMATS, Format
from i2i.errors import UserError, counted, meant
from i2i.inputs import SUFFIXES, Input, Shard
from i2i.movies import MOVIES, VIDEOS

FormatName = Literal["keep", "png", "jpg", "webp", "tiff", "bmp", "gif", "mp4"]
Existing = Literal["refuse", "skip", "overwrite"]
UNTOUCHED = "choose another --out: inputs are never changed"
TWICE = "translate the folder that holds both, or use two commands with different --out"
MANY = "--interpolate 8 --samples 4 makes many of each input"
FIELDS = ("stem", "ext", "model", "index", "sample")
KINDS = FORMATS | MOVIES


@dataclass(frozen=True)
class Output:
    """One file to write, or to leave alone since it is `there`. `copies`: what is copied beside it, from where to where.

    `compare` is another file, which shows the input beside the output.
    """

    path: Path
    there: bool = False
    copies: tuple[tuple[Path, Path], ...] = ()
    compare: Path | None = None


@dataclass(frozen=True)
class Job:
    """One image or video and what becomes of it. `relative` is its place in the tree; `notes` are words on outputs' names."""

    input: Path
    relative: Path
    outputs: tuple[Output, ...]
    notes: tuple[str, ...] = ()
    instances: Path | None = None
    mask: Path | None = None

    @property
    def skip(self) -> bool:
        """Whether there is nothing to translate."""
        return all(output.there for output in self.outputs)

    @property
    def is_video(self) -> bool:
        return video.is_video(self.input)


@dataclass(frozen=True)
class Template:
    """How outputs are called: `text` with `FIELDS` in braces, such as "{stem}_{model}{ext}". A / in it makes folders.

    {stem} is the input's name, {ext} the kind of file, {index} the input's number from 0 and {sample} the output's; numbers may
    be padded: {index:05}.
    """

    text: str = "{stem}{ext}"
    model: str = "model"

    def __post_init__(self) -> None:
        try:
            used = [field for _, field, _, _ in Formatter().parse(self.text) if field is not None]
            if (unknown := next((field for field in used if field not in FIELDS), None)) is not None:
                raise UserError(f"--name has a field {{{unknown}}}, which is not known", meant(unknown, FIELDS) or KNOWN_FIELDS)
            self.name("stem", ".png", 0, 0)
        except ValueError as error:
            raise UserError(f"--name '{self.text}' is not understood: {error}", KNOWN_FIELDS) from None
        if not self.text.endswith("{ext}"):
            raise UserError(f"--name '{self.text}' does not end with {{ext}}", KNOWN_FIELDS)

    def name(self, stem: str, suffix: str, index: int, sample: int | None) -> Path:
        """One name. Samples are numbered whether the text says so or not."""
        text = self.text
        if sample is not None and "{sample" not in text:
            text = text.removesuffix("{ext}") + "_{sample}{ext}"
        name = Path(text.format(stem=stem, ext=suffix, model=self.model, index=index, sample=sample or 0))
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"--name '{self.text}' leads out of the --out folder", "it may name folders inside of it")
        return name


KNOWN_FIELDS = f"fields are {' '.join(f'{{{field}}}' for field in FIELDS)}, and {{ext}} comes last"
AS_INPUTS = Template()


def plan(
    inputs: Sequence[Input],
    out: Path,
    y: Domain,
    format: FormatName | None,
    existing: Existing,
    *,
    template: Template = AS_INPUTS,
    count: int | None = None,
    movie: bool = False,
    annotations: bool = False,
    compare: bool = False,
    instances: Path | None = None,
    masks: Path | None = None,
    shard: Shard | None = None,
) -> list[Job]:
    """One job for every input, with outputs that can hold the values of `y`.

    Each has one output, which may be a `movie`, or `count` numbered ones. `annotations`: what is noted about an input goes
    along. `compare`: a picture of input and output lies beside the output. `instances` is the folder of the instance maps;
    `masks` that of the masks, or one mask for all. Only the jobs of the `shard` are returned, but all are checked. Raises
    UserError where two files would get one name, where one would touch an input, and where outputs exist that may be neither
    skipped nor replaced.
    """
    _refuse_for_videos(inputs, movie, compare)
    outputs = _outputs(inputs, out, y, format, KINDS if movie else FORMATS, template, count)
    notes, noted = _notes(out, y, format), _annotations(inputs) if annotations else {}
    jobs = [
        Job(
            input.path,
            input.relative,
            tuple(
                Output(path, copies=_copies(noted.get(input.path, []), path), compare=_compared(path) if compare else None)
                for path in paths
            ),
            (*(notes if input.path.suffix != paths[0].suffix else ()), *_crowded(input, paths[0], template)),
        )
        for input, paths in zip(inputs, outputs, strict=True)
    ]
    if instances:
        jobs = [replace(job, instances=path) for job, path in zip(jobs, _beside(jobs, instances), strict=True)]
    if masks:
        jobs = [replace(job, mask=path) for job, path in zip(jobs, _masks(jobs, masks), strict=True)]
    _refuse_touching_inputs(inputs, jobs, out)
    return _with_what_is_there([job for job in jobs if not shard or shard.has(job.relative)], existing)


def _compared(path: Path) -> Path:
    return path.with_name(f"{path.stem}_compare.png")


def _with_what_is_there(jobs: list[Job], existing: Existing) -> list[Job]:
    wanted = [path for job in jobs for path in _written(job)]
    there = {path for path in wanted if os.path.lexists(path)}
    if there and existing == "refuse":
        raise UserError(
            f"{len(there)} of {counted(len(wanted), 'output')} exist already, such as '{min(there)}'"
            if len(wanted) > 1
            else f"the output '{min(there)}' exists already",
            "--skip-existing leaves them and does the rest, --overwrite replaces them",
        )
    if not there or existing == "overwrite":
        return jobs
    return [replace(job, outputs=tuple(_left(output, there) for output in job.outputs)) for job in jobs]


def _left(output: Output, there: set[Path]) -> Output:
    copies = tuple(copy for copy in output.copies if copy[1] not in there)
    return Output(output.path, output.path in there, copies, None if output.compare in there else output.compare)


def _written(job: Job) -> list[Path]:
    return [*_pictures(job), *(to for output in job.outputs for _, to in output.copies)]


def _pictures(job: Job) -> list[Path]:
    return [path for output in job.outputs for path in (output.path, output.compare) if path]


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


# Outputs


def _outputs(
    inputs: Sequence[Input],
    out: Path,
    y: Domain,
    format: FormatName | None,
    kinds: Mapping[str, Format],
    template: Template,
    count: int | None,
) -> list[list[Path]]:
    """The outputs of each input. Raises UserError for a kind of file that cannot hold the values of `y`."""
    only_videos = all(input.is_video for input in inputs)
    if format not in (None, "keep") and f".{format}" not in (VIDEOS if only_videos else kinds):
        what, hint = ("video", "leave --format out") if only_videos else ("image", MANY)
        raise UserError(f"one {what} is no {KINDS[f'.{format}'].name}", hint)
    _refuse_unknown_suffix(inputs, out)
    if one_file := _is_file_name(out):
        _check_one_file(out, inputs, format, VIDEOS if only_videos else kinds, template)
    suffixes = [out.suffix if one_file else suffix(input.path, y, format) for input in inputs]
    for kind in {suffix.lower() for suffix in suffixes}:
        if not _holds(kind, y):
            what = f"{y.dtype} with {y.channels} channels"
            hint = "translate the frames as images" if kind in VIDEOS else "--format tiff can"
            raise UserError(f"{KINDS[kind].name} cannot hold the model's output ({what})", hint)
    numbers: list[int | None] = [None] if count is None else [*range(count)]
    if one_file:
        return [[out.parent / AS_INPUTS.name(out.stem, out.suffix, 0, number) for number in numbers]]
    return [[out / name for name in names] for names in _names(inputs, suffixes, template, numbers)]


def suffix(path: Path, y: Domain, format: FormatName | None) -> str:
    """The kind of file for the translation of an image, where only a `format` is asked for, or nothing.

    A video stays one of its kind where that can be written; a format of images is not meant for it.
    """
    if video.is_video(path):
        return path.suffix if path.suffix.lower() in VIDEOS and format != "mp4" else ".mp4"
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


def _crowded(input: Input, path: Path, template: Template) -> tuple[str, ...]:
    """A word about an output that is called a.png.png: see `_names`."""
    whole = "{stem" in template.text and input.relative.suffix != "" and input.relative.name in path.stem
    return ("the name keeps the suffix of the input, since another input has the same name without it",) if whole else ()


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() in SUFFIXES | MOVIES.keys() and not out.is_dir()


def _refuse_unknown_suffix(inputs: Sequence[Input], out: Path) -> None:
    """Of one image -o a.jpgg is a slip of the pen; where such a folder is really wanted, it is there already."""
    looks_so = re.fullmatch(r"\.[A-Za-z]\w{1,4}", out.suffix) and not _is_file_name(out) and not out.exists()
    if looks_so and len(inputs) == 1 and not inputs[0].folder:
        known = " ".join(sorted(FORMATS))
        raise UserError(
            f"'{out}' is no name of an image that can be written", f"known are {known}; a folder must be there already"
        )


def _check_one_file(
    out: Path, inputs: Sequence[Input], format: FormatName | None, kinds: Mapping[str, Format], template: Template
) -> None:
    if len(inputs) > 1 or inputs[0].folder:
        raise UserError(f"'{out}' is the name of one file, but the input is a folder or several images", "give --out a folder")
    if out.suffix.lower() not in kinds:
        raise UserError(f"cannot write {out.suffix} files", f"known are {' '.join(sorted(kinds))}")
    if format not in (None, "keep") and kinds[f".{format}"] != kinds[out.suffix.lower()]:
        raise UserError(f"'{out}' and --format {format} contradict each other", "leave --format out")
    if template.text != AS_INPUTS.text:
        raise UserError(f"'{out}' is the name of one file already", "leave --name out, or give --out a folder")


def _names(
    inputs: Sequence[Input], suffixes: Sequence[str], template: Template, numbers: Sequence[int | None]
) -> list[list[Path]]:
    """In the tree of the inputs. Where two would get one name (a.jpg and a.png), both keep their suffix (a.jpg.png).

    Names that differ in case only count as one here, since they are one on some disks.
    """
    whole: set[Input] = set()
    while True:
        stems = [input.relative.name if input in whole else input.relative.stem for input in inputs]
        names = [
            [input.relative.parent / template.name(stem, suffix, index, number) for number in numbers]
            for index, (input, stem, suffix) in enumerate(zip(inputs, stems, suffixes, strict=True))
        ]
        owners: dict[str, set[Input]] = {}
        for input, several in zip(inputs, names, strict=True):
            for name in several:
                owners.setdefault(str(name).casefold(), set()).add(input)
        crowded = {input for several in owners.values() if len(several) > 1 for input in several}
        if crowded <= whole:
            _refuse_one_name_for_two(inputs, names, template)
            return names
        whole |= crowded


def _refuse_one_name_for_two(inputs: Sequence[Input], names: list[list[Path]], template: Template) -> None:
    first: dict[Path, Input] = {}
    for input, several in zip(inputs, names, strict=True):
        for name in several:
            if (other := first.setdefault(name, input)) != input:
                hint = TWICE if template.text == AS_INPUTS.text else "{stem} and {index} in --name tell them apart"
                raise UserError(f"'{other.path}' and '{input.path}' would both become '{name}'", hint)


# What lies beside the inputs


def _annotations(inputs: Iterable[Input]) -> dict[Path, list[Path]]:
    """For each image every file beside it that has its stem and is no image or video."""
    found: dict[Path, list[Path]] = {}
    for folder in {input.path.parent for input in inputs}:
        try:
            files = sorted(f for f in folder.iterdir() if f.suffix.lower() not in SUFFIXES and f.is_file())
        except FileNotFoundError:
            continue  # what a list names need not be there
        except OSError as error:
            raise UserError(f"cannot look for annotations in '{folder}': {error.strerror}", "check its mode") from None
        for file in files:
            found.setdefault(file.with_suffix(""), []).append(file)
    return {input.path: found.get(input.path.with_suffix(""), []) for input in inputs}


def _copies(annotations: Iterable[Path], output: Path) -> tuple[tuple[Path, Path], ...]:
    """From where to where; nothing that is there already since the output lies beside its input."""
    copies = [(file, output.with_suffix(file.suffix)) for file in annotations]
    return tuple((file, to) for file, to in copies if to.absolute() != file.absolute())


def _masks(jobs: list[Job], masks: Path) -> list[Path | None]:
    """One mask for all, or of a folder each its own."""
    if masks.is_dir():
        return _beside(jobs, masks)
    if not masks.exists():
        raise UserError(f"there is no folder or file '{masks}'", "--mask is a folder of masks, one mask for all, or alpha")
    return [masks] * len(jobs)


def _beside(jobs: list[Job], folder: Path) -> list[Path | None]:
    """What belongs to each job in a folder of others, as far as it is there: of its place and name, as in training."""
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'", "--instances is the folder of the instance maps")
    others = [Source(file, _place(file.relative_to(folder))) for file in image_files(folder)]
    found = beside([Source(job.input, _place(job.relative)) for job in jobs], others)
    return [source.path if source else None for source in found]


def _place(path: Path) -> str:
    return path.with_suffix("").as_posix()


# Refusals


def _refuse_for_videos(inputs: Sequence[Input], movie: bool, compare: bool) -> None:
    found = next((input.path for input in inputs if input.is_video), None)
    if found and (movie or compare):
        what = "the frames of another movie" if movie else "beside its output in one picture"
        hint = f"leave --{'interpolate' if movie else 'compare'} out, or name the images alone"
        raise UserError(f"the video '{found}' cannot be shown {what}", hint)


def _refuse_touching_inputs(inputs: Sequence[Input], jobs: list[Job], out: Path) -> None:
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
    own = {identity(path): path for job in jobs for path in _read(job)}
    for output in outputs:
        if (known := identity(output)) and known in own:
            raise UserError(f"'{output}' would replace the input '{own[known]}'", UNTOUCHED)
    _refuse_one_copy_of_two(jobs)
    _refuse_one_picture_of_two(jobs)


def _refuse_one_copy_of_two(jobs: list[Job]) -> None:
    first: dict[str, Path] = {}
    for file, to in (copy for job in jobs for output in job.outputs for copy in output.copies):
        other = first.setdefault(str(to).casefold(), file)
        if other.absolute() != file.absolute():
            raise UserError(f"'{other}' and '{file}' would both become '{to}'", TWICE)


def _refuse_one_picture_of_two(jobs: list[Job]) -> None:
    """`_names` has seen to the outputs; what shows them beside their inputs may still be called as another output."""
    first: dict[Path, Job] = {}
    for job in jobs:
        for path in _pictures(job):
            if (other := first.setdefault(path, job)) is not job:
                what = f"'{other.input}' and '{job.input}' would both write '{path}'"
                raise UserError(what, "leave --compare out, or use --name")


def _read(job: Job) -> list[Path]:
    copied = [file for output in job.outputs for file, _ in output.copies]
    return [path for path in (job.input, *copied, job.instances, job.mask) if path]


def identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file share. None for what is not there, and for folders."""
    try:
        found = path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(found.st_mode) else (found.st_dev, found.st_ino)
