"""`i2i evaluate`: how good the outputs of a run are, or the images of a folder."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages, tables
from i2i.cli.tables import short
from i2i.errors import UserError, counted

if TYPE_CHECKING:
    from i2i.evaluate import Labels
    from i2i.metrics import Metric
    from i2i.scores import Asked, Number, Report

HEADINGS = ("metric", "value", "+-", "better", "n", "real/real", "n", "value at that n", "seen")


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="The folder of a run; its held-out images are translated.", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option(help="Other data for the run: its held-out part, or all of it.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="best, last or a step. [default: the model that translate uses]")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="AtoB or BtoA. [default: as trained]")] = None,
    fake: Annotated[Path | None, typer.Option(metavar="DIR", help="In the place of a run: a folder of outputs.")] = None,
    real: Annotated[Path | None, typer.Option(metavar="DIR", help="Real images to compare them with, as sets.")] = None,
    target: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The targets of the outputs, under the same names: pairs.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas between, such as kid,ssim. [default: all that apply]")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PLACE",
            help="A file of published weights, or a folder of them; may be given again. Then $I2I_WEIGHTS and torchvision's"
            " cache are looked in.",
        ),
    ] = None,
    require: Annotated[bool, typer.Option("--require", help="Missing weights are an error.")] = False,
    palette: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The colours of classes, for palette-miou and in --labels."),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(metavar="FILE.onnx", help="A network that sees classes: does it find those of the label maps?"),
    ] = None,
    segmenter_values: Annotated[
        str, typer.Option(metavar="VALUES", help="Of its input, RGB: imagenet (mean and deviation), 0..1, -1..1 or 0..255.")
    ] = "imagenet",
    labels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --target: the label maps of the outputs, under their names.")
    ] = None,
    void: Annotated[str, typer.Option(metavar="IDS", help="Ids in --labels that do not count, such as 0,255.")] = "255",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 2, help="Of random patches, directions, subsets and styles.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    list_metrics: Annotated[bool, typer.Option("--list", help="List the metrics and what each needs, and stop.")] = False,
) -> None:
    """Measure outputs against real images: a run on data that it has not seen, or a folder.

    Every number comes with its n, and with the same number for real images against real ones. Of sets, what is better than that
    is noise; of pairs and styles, it is how far real images lie apart that have nothing to do with each other; of a segmenter,
    what it sees in the real ones. Some metrics need a file of published weights; where it is not there, the reason stands in
    the place of the number.

    Examples:

        i2i evaluate runs/pix2pix-facades-001

        i2i evaluate runs/cyclegan-horse2zebra-001 --metrics kid,1nn --weights weights/ --require

        i2i evaluate --fake zebras/ --real horse2zebra/testB --json

        i2i evaluate --fake photos/ --target facades/testA --metrics l1,psnr,ssim

        i2i evaluate runs/pix2pixhd-streets-001 --segmenter streets.onnx --metrics seg-miou,seg-accuracy

    A segmenter is a file of ONNX, which runs no code and says itself what goes in and out: an image (1, 3, H, W) of floats, and
    logits (1, K, H, W) or ids (1, H, W). The same is done to the real images: if it is poor there, its numbers mean little.
    """
    if list_metrics:
        _list(as_json)
        return
    _refuse_contradictions(run, fake, real, target, {"--data": data, "--checkpoint": checkpoint, "--direction": direction})
    _require_segmenter(run, target, segmenter, labels)
    if direction not in (None, "AtoB", "BtoA"):
        raise UserError(f"--direction must be AtoB or BtoA, not '{direction}'", "leave it out for the direction of training")
    from i2i import evaluate as evaluating
    from i2i.data.locate import paced
    from i2i.losses.weight_files import sha256
    from i2i.segmenter import Segmenter
    from i2i.summary import summary, translating

    asked = _asked(metrics, weights, palette, require, seed, device)
    asked = replace(asked, segmenter=Segmenter(segmenter, segmenter_values)) if segmenter else asked
    told = paced(messages.say, "looked at", "images")
    if run is not None:
        how: dict[str, Any] = {"data": data, "which": checkpoint, "direction": direction, "say": messages.say}
        report = evaluating.a_run(run, asked, **how, on_progress=told)
    else:
        other = real or target
        assert fake
        assert other
        maps = _labels(labels, palette, void) if labels else None
        report = evaluating.two_folders(fake, other, asked, paired=target is not None, labels=maps, on_progress=told)

    tree = _tree(report, str(run or fake), seed)
    messages.result_json(tree) if as_json else _print(report)
    for warning in report.warnings:
        messages.say(f"warning: {warning}")
    if run is not None:
        about = summary(run)
        rests_on = {
            "data": data,
            "direction": direction or about["direction"],
            "palette": sha256(palette) if palette else None,
            "segmenter_values": segmenter_values if segmenter else None,
        }
        _keep(run, {"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "checkpoint": checkpoint, **rests_on, **tree})
    missing = [number.outcome for number in report.numbers if number.outcome.hint]
    for note in dict.fromkeys(f"{outcome.reason}: {outcome.hint}" for outcome in missing):
        messages.say(f"note: {note}")
    messages.next_command(translating(about) if run else _again(fake, real, target))


def _refuse_contradictions(
    run: Path | None, fake: Path | None, real: Path | None, target: Path | None, of_a_run: dict[str, Any]
) -> None:
    examples = "i2i evaluate RUN, or i2i evaluate --fake DIR --real DIR, or --fake DIR --target DIR"
    if run is not None and (fake or real or target):
        raise UserError("a run is evaluated on its own data, so it goes without --fake, --real and --target", examples)
    if run is None and (fake is None or (real is None) == (target is None)):
        raise UserError("there must be a run, or --fake with one of --real and --target", examples)
    given = [option for option, value in of_a_run.items() if value is not None]
    if run is None and given:
        raise UserError(f"{given[0]} is for a run, and folders are given", examples)


def _require_segmenter(run: Path | None, target: Path | None, segmenter: Path | None, labels: Path | None) -> None:
    """Raise UserError for label maps without someone who looks for their classes, and the other way round."""
    if labels and (run or not target):
        raise UserError("--labels goes with --fake and --target", "a run knows its own label maps" if run else "--target DIR")
    if labels and not segmenter:
        raise UserError("--labels is for a segmenter, and there is none", "--segmenter FILE.onnx")
    if segmenter and not run and not labels:
        raise UserError("a segmenter is compared with label maps, and there are none", "--labels DIR, and --target DIR")


def _labels(folder: Path, palette: Path | None, void: str) -> "Labels":
    from i2i.data.labels import read_palette
    from i2i.evaluate import Labels

    ids = [part.strip() for part in void.split(",") if part.strip()]
    if not all(part.isdecimal() for part in ids):
        raise UserError(f"--void takes ids, not '{void}'", "such as --void 0,255")
    return Labels(folder, read_palette(palette) if palette else None, [int(part) for part in ids])


def _asked(
    metrics: str | None, weights: list[Path] | None, palette: Path | None, require: bool, seed: int, device: str
) -> "Asked":
    from i2i.metrics import chosen

    names = (
        chosen(metrics.split(","), "--metrics") if metrics is not None else []
    )  # a wrong name is refused before torch is imported
    import torch

    from i2i.data.labels import read_palette
    from i2i.scores import Asked
    from i2i.training.precision import choose_device

    colours = torch.tensor(read_palette(palette)) if palette else None
    return Asked(names, weights or [], colours, require, seed, choose_device(device))


def _again(fake: Path | None, real: Path | None, target: Path | None) -> str:
    other = f"--real {quote(str(real))}" if real else f"--target {quote(str(target))}"
    return f"i2i evaluate --fake {quote(str(fake))} {other} --json > metrics.json"


# Results


def _keep(run: Path, tree: dict[str, Any]) -> None:
    """Leave the result in the run, where its page shows it. A run that may not be written to was evaluated all the same."""
    from i2i import atomic
    from i2i.report.page import REPORT, Page
    from i2i.training.folder import EVALUATION

    try:
        atomic.write_text(run / EVALUATION, json.dumps(tree, indent=1))
    except OSError as error:
        messages.say(f"warning: {run / EVALUATION} could not be written: {error.strerror}")
        return
    Page(run, messages.say).refresh(last=True)
    messages.say(f"{run / EVALUATION} keeps this, {run / REPORT} shows it")


def _list(as_json: bool) -> None:
    from i2i.metrics import METRICS

    needs = {name: _needs(metric) for name, metric in METRICS.items()}
    if as_json:
        rows = ("better", "least", "summary")
        tree = {name: {key: getattr(metric, key) for key in rows} | {"needs": needs[name]} for name, metric in METRICS.items()}
        messages.result_json(tree)
    else:
        _table([("metric", "better", "least n", "needs", "what")] + [
            (name, m.better, str(m.least), " + ".join(needs[name]), m.summary) for name, m in METRICS.items()
        ])  # fmt: skip
    messages.next_command("i2i evaluate --fake DIR --real DIR --metrics kid,1nn")


def _needs(metric: "Metric") -> list[str]:
    if metric.kind == "segments":
        return ["labels", "segmenter"]
    return [metric.kind, *(["weights"] if metric.judge else [])]


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    for line in tables.columns(rows):
        messages.result(line)


def _tree(report: "Report", fake: str, seed: int) -> dict[str, Any]:
    """null is a number that is not there, with its reason."""
    numbers = [asdict(number) for number in report.numbers]
    numbers = [{**{key: part for key, part in tree.items() if key != "outcome"}, **tree["outcome"]} for tree in numbers]
    beside = {"formats": report.formats, "warnings": report.warnings}
    return messages.strict({"evaluated": fake, "seed": seed, "metrics": numbers, **beside})


def _print(report: "Report") -> None:
    for side, word in (("fake", "outputs"), ("real", "real")):
        formats = report.formats[side]
        messages.result(f"{word}: {counted(sum(formats.values()), 'image')} ({', '.join(formats)})")
    _table([HEADINGS, *map(_row, report.numbers)])
    for number in report.numbers:
        if number.note:
            messages.result(f"{number.name}: {number.note}")


def _row(number: "Number") -> tuple[str, ...]:
    found = number.outcome
    if found.value is None:
        return number.name, f"none: {found.reason}"
    n = str(number.n) if number.n == number.n_real else f"{number.n}:{number.n_real}"
    seen = ", ".join(part for part in (number.resize, _file(number), _details(found.details)) if part)
    compared = short(found.baseline), str(found.baseline_n or ""), short(found.at_baseline_n)
    return number.name, short(found.value), short(found.deviation), number.better, n, *compared, seen


def _file(number: "Number") -> str:
    return f"{Path(number.weights).name} {number.sha256[:8]}" if number.weights and number.sha256 else ""


def _details(details: dict[str, Any]) -> str:
    flat = {key: value for key, value in details.items() if not isinstance(value, dict)}
    flat |= {key: value for group in details.values() if isinstance(group, dict) for key, value in group.items()}
    return " ".join(f"{key} {short(value) if isinstance(value, float) else value}" for key, value in flat.items())
