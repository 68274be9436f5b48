"""`i2i translate`: what a person asks for, in the words of the library."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages, progress
from i2i.errors import Interrupted, NothingDone, UserError, counted

if TYPE_CHECKING:
    from i2i.items import Record
    from i2i.naming import Job
    from i2i.translate import Translator

WHICH, WHAT, STYLE = "Which images", "What comes out", "In which style"
HOW, WHEN = "How it computes", "When something fails"


class Direction(str, Enum):
    AtoB, BtoA = "AtoB", "BtoA"


class Precision(str, Enum):
    auto, fp32, bf16 = "auto", "fp32", "bf16"


class Noise(str, Enum):
    on, off = "on", "off"


class NormStats(str, Enum):
    image, running = "image", "running"


class FileFormat(str, Enum):
    keep, png, jpg, webp, tiff, bmp, gif, mp4 = "keep", "png", "jpg", "webp", "tiff", "bmp", "gif", "mp4"


def _option(panel: str, help: str, *names: str, **limits: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **limits)


def translate(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A run, a checkpoint folder, a .safetensors or a .pth file.", show_default=False),
    ],
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Images, videos, folders, 'patterns/*.png', or - for stdin.", show_default=False),
    ] = None,
    files_from: Annotated[
        str | None,
        _option(
            WHICH,
            "A file that names images, one a line, or - for stdin. They keep their path, or their place in the INPUT folders.",
            metavar="LIST",
        ),
    ] = None,
    null: Annotated[bool, _option(WHICH, "Names in lists end with a zero byte, as of find -print0.", "--null", "-0")] = False,
    shard: Annotated[
        str | None,
        _option(WHICH, "Do one of n parts only, 1/n to n/n; auto: as torchrun or SLURM numbers this process.", metavar="I/N"),
    ] = None,
    instances: Annotated[
        Path | None, _option(WHICH, "The instance maps, under the names of the label maps.", metavar="DIR")
    ] = None,
    max_pixels: Annotated[
        int | None, _option(WHICH, "Refuse larger images, before decoding them. [default: 100 million]", min=1)
    ] = None,
    stdin_raw: Annotated[
        str | None,
        _option(WHICH, "With - -o -, as of ffmpeg -f rawvideo -pix_fmt rgb24: frames of this size in, and out.", metavar="WxH"),
    ] = None,
    out: Annotated[Path, _option(WHAT, "A folder; for one image or video also a file name, or - for stdout.", "--out", "-o")],
    watch: Annotated[
        bool, _option(WHICH, "Go on with what is new in the INPUT folders, until Ctrl-C; what exists is left.", "--watch")
    ] = False,
    direction: Annotated[Direction | None, _option(WHAT, "The way to go. [default: as trained]")] = None,
    name: Annotated[
        str | None,
        _option(WHAT, "Of stem, model, index, sample, ext. [default: {stem}{ext}]", metavar="TEMPLATE"),
    ] = None,
    format: Annotated[
        FileFormat | None, _option(WHAT, "Kind of file to write. [default: png, or tiff where PNG cannot hold the values]")
    ] = None,
    quality: Annotated[int, _option(WHAT, "Of JPEG and WebP. [default: 95]", min=1, max=100)] = 95,
    compression: Annotated[
        int | None, _option(WHAT, "Of PNG, 9 for small files. [default: what is fastest]", min=0, max=9)
    ] = None,
    alpha: Annotated[
        str, _option(WHAT, "keep, drop, flatten (onto white) or flatten:COLOUR. [default: keep]", metavar="WHAT")
    ] = "keep",
    keep_metadata: Annotated[
        bool, _option(WHAT, "EXIF and ICC profile go along into PNG, JPEG and WebP.", "--keep-metadata")
    ] = False,
    compare: Annotated[bool, _option(WHAT, "Also write NAME_compare.png, the input beside the output.", "--compare")] = False,
    mask: Annotated[
        str | None,
        _option(
            WHAT,
            "Change only what is white in masks under the names of the images, in one for all, or in the images' own alpha.",
            metavar="DIR|FILE|alpha",
        ),
    ] = None,
    feather: Annotated[
        int | None, _option(WHAT, "From the edge of a mask inwards, so many pixels are blended. [default: 8]", min=0)
    ] = None,
    samples: Annotated[
        int | None, _option(STYLE, "So many outputs of each image, NAME_0.png to NAME_N-1.png, each in a drawn style.", min=1)
    ] = None,
    seed: Annotated[
        int | None,
        _option(STYLE, "Of drawn styles and noise; without --samples one output of each. [default: 0]", min=0, max=2**63 - 1),
    ] = None,
    same_style: Annotated[
        bool, _option(STYLE, "All images get the same drawn styles and noise, not each its own.", "--same-style")
    ] = False,
    style: Annotated[
        list[str] | None,
        _option(STYLE, "Give a label the kind of that number, 0 the most common; pix2pixhd only.", metavar="LABEL=KIND"),
    ] = None,
    style_from: Annotated[
        Path | None, _option(STYLE, "Take the style of an image of the output side, for all.", metavar="IMAGE")
    ] = None,
    interpolate: Annotated[
        int | None,
        _option(STYLE, "One output: so many frames from each of the --samples to the next; also --format gif or mp4.", min=2),
    ] = None,
    noise: Annotated[
        Noise, _option(STYLE, "Dropout, the only noise of pix2pix, drawn from --seed for each image. [default: off]")
    ] = Noise.off,
    overwrite: Annotated[bool, _option(WHAT, "Replace outputs that exist.", "--overwrite")] = False,
    skip_existing: Annotated[bool, _option(WHAT, "Leave outputs that exist, do the rest.", "--skip-existing")] = False,
    dry_run: Annotated[bool, _option(WHAT, "Show which file would become which, then stop.", "--dry-run")] = False,
    as_json: Annotated[bool, _option(WHAT, "A JSON object for each output on stdout, then a summary.", "--json")] = False,
    device: Annotated[str, _option(HOW, "auto, cpu, cuda, cuda:1, mps. [default: auto]")] = "auto",
    precision: Annotated[Precision, _option(HOW, "[default: auto, bf16 for 8-bit images where it is faster]")] = Precision.auto,
    norm_stats: Annotated[
        NormStats,
        _option(HOW, "Statistics of batch norm: each image's own, as published, or those of the training. [default: image]"),
    ] = NormStats.image,
    batch: Annotated[int | None, _option(HOW, "Images at once. [default: by device and model]", min=1)] = None,
    tile: Annotated[
        str, _option(HOW, "Tiles of so many pixels for larger images; auto: where memory asks for them; off. [default: auto]")
    ] = "auto",
    freeze_norm: Annotated[
        bool, _option(HOW, "Against flicker: norms use the statistics of a video's first frame for all.", "--freeze-norm")
    ] = False,
    workers: Annotated[int, _option(HOW, "Threads that decode, and as many that encode. [default: 4]", min=1, max=256)] = 4,
    fail_fast: Annotated[bool, _option(WHEN, "Begin nothing else once an image has failed.", "--fail-fast")] = False,
    max_errors: Annotated[int | None, _option(WHEN, "The same once so many have.", min=1)] = None,
    errors_to: Annotated[
        Path | None, _option(WHEN, "Write the failed inputs into a file that --files-from takes.", metavar="FILE")
    ] = None,
    log: Annotated[Path | None, _option(WHEN, "Add a line of JSON for each output to a file.", metavar="FILE")] = None,
) -> None:
    """Translate images and videos with a trained model. All keep their size; inputs are never changed.

    Examples:

        i2i translate runs/cyclegan-horse2zebra-001 photos/ -o zebras/

        i2i translate model.safetensors in.png -o out.png

        i2i translate runs/my-run 'scans/**/*.tif' -o done/ --format keep --skip-existing

        find photos -name '*.jpg' -newer done | i2i translate runs/my-run --files-from - -o out/ --errors-to failed.txt

        i2i translate runs/my-run zebras/ -o horses/ --direction BtoA --name '{stem}_{model}{ext}'

        i2i translate runs/my-run - -o - < in.png > out.png

        i2i translate runs/my-run in.mp4 -o out.mp4 --freeze-norm

        i2i translate runs/my-run camera/ -o out/ --watch

        i2i translate runs/bicyclegan-edges2shoes-001 edges/ -o shoes/ --samples 5 --seed 7

        i2i translate runs/bicyclegan-edges2shoes-001 edges/ -o shoes/ --style-from boot.jpg

        i2i translate runs/bicyclegan-edges2shoes-001 a.png -o a.gif --interpolate 8 --samples 4

        i2i translate runs/pix2pix-facades-001 labels/ -o photos/ --noise on --samples 3

        i2i translate runs/pix2pixhd-cityscapes-001 labels/ -o photos/ --instances inst/

        i2i translate runs/my-run photos/ -o out/ --mask masks/ --feather 16

        ffmpeg -i in.mp4 -f rawvideo -pix_fmt rgb24 - | i2i translate runs/my-run - -o - --stdin-raw 640x360 > out.rgb

    With --mask what is black in a mask stays as it was, to the bit; grey is changed in part, and the feather lies inside.

    pix2pix is published with dropout and each image's own batch norm when it translates. Dropout is off here, so that one input
    has one output, unless --noise is on; it is then the same for the same --seed and name. --norm-stats running suits models
    that were trained with large batches.

    Folders are searched to the bottom and keep their tree; hidden files are left out. Of a refiner's images, files of the same
    name that are no images are copied along. Videos (MP4, MOV, AVI, MKV, WebM) keep frames, rate and size, and their sound
    where there is an ffmpeg program; a folder of frames is a folder of images. Exit status: 0 all done, 3 some failed, 4 none
    was done.
    """
    given, most = inputs or [], 1 if fail_fast else max_errors
    piped = "-" in given or str(out) == "-"
    _refuse_contradictions(
        {
            "--overwrite and --skip-existing": overwrite and skip_existing,
            "--fail-fast and --max-errors": fail_fast and max_errors,
            "--watch and --overwrite": watch and overwrite,
            "--watch and --files-from": watch and files_from,
        }
    )
    _require_inputs(given, files_from, feather, mask)
    of_files = format, instances, keep_metadata, compression is not None, quality != 95, alpha != "keep"
    size = _size(stdin_raw, piped, any(of_files)) if stdin_raw else None
    if piped:
        asked = (files_from, shard, name, samples, interpolate, log, errors_to, compare, dry_run, as_json, watch)
        _check_pipe(given, out, any(asked) or (not size and (batch or freeze_norm)))

    from i2i.config import CONFIG
    from i2i.conversion import Alpha
    from i2i.encoders import Packing
    from i2i.images import MAX_PIXELS
    from i2i.items import Reading
    from i2i.logbook import Logbook
    from i2i.masks import ALPHA, FEATHER, Masking

    width = FEATHER if feather is None else feather
    packing, limit = Packing(quality, compression), max_pixels or MAX_PIXELS
    reading = Reading(Alpha.parse(alpha), limit, keep_metadata, Masking.of(mask, width))
    translator = _opened(model, device, precision.value, _tile(tile), norm_stats.value)
    styles = translator.styles(
        samples=samples,
        seed=seed,
        same_style=same_style,
        style=dict(map(_choice, style or [])),
        style_from=style_from,
        interpolate=interpolate,
        noise=noise is Noise.on,
    )
    how: dict[str, Any] = {"direction": direction and direction.value, "styles": styles}
    kind: Any = format and format.value
    if piped:
        how |= {"mask": mask, "feather": width}
        frames = {"batch": batch, "freeze_norm": freeze_norm, "max_pixels": limit}
        _pipe(
            translator, size, how | (frames if size else {"packing": packing, "reading": reading, "instances": instances}), kind
        )
        return

    def plan() -> list["Job"]:
        return translator.plan(
            given,
            out,
            files_from=files_from,
            null=null,
            shard=shard,
            instances=instances,
            mask=mask,
            name=name,
            format=kind,
            existing="overwrite" if overwrite else "skip" if skip_existing or watch else "refuse",
            compare=compare,
            **how,
        )

    jobs = [] if watch and not dry_run else plan()
    book = Logbook(log, errors_to, null, shared=shard is not None or watch)
    book.check(jobs, files_from)
    if dry_run:
        progress.show_plan(jobs, out, as_json, {"mask": mask not in (None, ALPHA), "instance map": bool(instances)})
        return

    from i2i.training.signals import Stop
    from i2i.watch import watched

    with Stop() as stop, progress.Tally(_total(jobs, freeze_norm and not watch), out, as_json, watch) as tally:

        def work(jobs: Sequence["Job"]) -> Iterator["Record"]:
            doing = {"packing": packing, "reading": reading, "batch": batch, "workers": workers, "book": book, **how}
            doing |= {"freeze_norm": freeze_norm, "max_errors": most, "told": tally.frame}
            return translator.translate_files(jobs, **doing, stopped=lambda: stop.signal != 0)

        if watch:
            messages.say(f"waiting for images in {', '.join(map(repr, given))}; Ctrl-C ends it")
            tally.take(watched(plan, lambda new: tally.expecting(new, work), lambda: stop.signal != 0 or tally.failed(most)))
        else:
            tally.take(work(jobs))
    _end(tally, stop.signal, watch)
    if (model / CONFIG).is_file() and not as_json:  # a run, not a bare model
        messages.next_command(_next(model))


def _next(run: Path) -> str:
    """Measure a run that has images to measure it on, unless that was done."""
    from i2i.summary import summary
    from i2i.training.folder import EVALUATION

    measured = (run / EVALUATION).exists() or not summary(run)["validation"]
    return f"i2i {'show' if measured else 'evaluate'} {shlex.quote(str(run))}"


def _opened(*how: Any) -> "Translator":
    from i2i.translate import Translator

    translator = Translator.open(*how)
    for line in translator.model.said:
        messages.say(line)
    return translator


def _total(jobs: Sequence["Job"], freeze_norm: bool) -> int:
    """How many outputs there will be, and a word where nothing is to be frozen."""
    if freeze_norm and not any(job.is_video for job in jobs):
        messages.say("note: --freeze-norm is for videos, and there is none; every image has statistics of its own")
    return sum(len(job.outputs) for job in jobs)


def _end(tally: progress.Tally, signal: int, watch: bool) -> None:
    """Raise what the exit status says, unless all is done."""
    left, failed = tally.total - tally.finished, tally.counts["failed"]
    if signal and left:
        raise Interrupted(
            f"stopped by a signal after {tally.finished} of {counted(tally.total, 'image')}; finished ones are whole",
            "the same command with --skip-existing goes on",
            signal=signal,
        )
    if left:
        messages.say(f"stopped after {failed} failed; {counted(left, 'image', 'was')} not begun")
    elif failed and failed == tally.total and not watch:
        raise NothingDone("no image could be translated" if failed > 1 else "the image could not be translated")
    if failed:
        raise typer.Exit(3)


def _tile(text: str) -> Any:
    if text in ("auto", "off"):
        return text
    if not text.isascii() or not text.isdecimal() or int(text) < 16:
        raise UserError(f"--tile must be auto, off, or at least 16 pixels, not '{text}'", "such as --tile 1024")
    return int(text)


def _choice(text: str) -> tuple[int, int]:
    """LABEL=KIND as numbers."""
    label, _, kind = text.partition("=")
    if not label.isdecimal() or not kind.isdecimal():
        raise UserError(f"--style takes LABEL=KIND, two numbers, not '{text}'", "such as --style 26=3")
    return int(label), int(kind)


def _require_inputs(given: list[str], files_from: str | None, feather: int | None, mask: str | None) -> None:
    if feather is not None and mask is None:
        raise UserError("--feather is about the edges of masks, and there is none", "--mask says where they are")
    if not given and files_from is None:
        raise UserError("there is no INPUT", "name images or folders, or --files-from a list of them")


def _refuse_contradictions(found: dict[str, Any]) -> None:
    for pair, both in found.items():
        if both:
            raise UserError(f"{pair} contradict each other", "give one of them")


def _pipe(translator: "Translator", size: tuple[int, int] | None, how: dict[str, Any], format: Any) -> None:
    """Raw frames of a size, or one image, from stdin to stdout."""
    from i2i.images import ImageError

    if size:
        _pipe_frames(translator.translate_raw(sys.stdin.buffer, size, **how))
        return
    try:
        made = translator.translate_bytes(sys.stdin.buffer.read(), format, **how)
    except ImageError as error:
        raise NothingDone(error.message, error.hint) from error
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()


def _size(text: str, piped: bool, asked: bool) -> tuple[int, int]:
    """WxH as numbers."""
    if asked:
        raise UserError("raw frames are no files: they have no format, quality, alpha, metadata or instances", "leave that out")
    if not piped:
        raise UserError("--stdin-raw is for frames from stdin to stdout", f"i2i translate MODEL - -o - --stdin-raw {text}")
    width, _, height = text.partition("x")
    if not all(side.isascii() and side.isdecimal() and int(side) > 0 for side in (width, height)):
        raise UserError(f"--stdin-raw takes the width and height of the frames, not '{text}'", "such as --stdin-raw 1280x720")
    return int(width), int(height)


def _pipe_frames(frames: Iterator[bytes]) -> None:
    """Raw frames from stdin to stdout, until they end or nobody takes them any more."""
    out = sys.stdout.buffer
    try:
        for frame in frames:
            out.write(frame)
            out.flush()
    except BrokenPipeError:
        messages.nobody_listens(sys.stdout)


def _check_pipe(given: list[str], out: Path, asked: Any) -> None:
    """Raise UserError for anything but one image from stdin to stdout."""
    if given != ["-"] or str(out) != "-":
        raise UserError("- is stdin as the INPUT and stdout as --out, and these go together", "i2i translate MODEL - -o -")
    if asked:
        raise UserError("from stdin to stdout one image becomes one image", "name files for what needs several, or a name")
    if sys.stdout.isatty():
        raise UserError("stdout is a terminal, and an image would come there", "put > FILE or | PROGRAM behind it")
