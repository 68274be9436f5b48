"""`i2i train` and `i2i resume`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2i.cli import messages
from i2i.cli.show import show_config
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.config import Config
    from i2i.data.folders import Source
    from i2i.method import Method
    from i2i.prepare import Prepared


def train(
    method: Annotated[str, typer.Argument(help="Which method to train; `i2i methods` lists them.", show_default=False)],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="A folder, a manifest, A,B (two folders), or a known name.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", "-p", help="Shipped settings; `i2i config METHOD` lists them.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file, such as the config.yaml of a run.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run's folder. [default: runs/METHOD-DATA-001]")] = None,
    direction: Annotated[str | None, typer.Option(help="AtoB or BtoA: which side is the input.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run in steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Length of the run in epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step (and per process).")] = None,
    size: Annotated[
        str | None, typer.Option(help="Crops: the side of a square in pixels, or WIDTHxHEIGHT.", show_default=False)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Drives weights, order, crops, history and noise.")] = None,
    compile: Annotated[bool | None, typer.Option("--compile", help="Compile the networks; pays on GPUs.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any setting: key=value. Can be repeated.")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Start from the weights of a run or a model file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show config, data and networks, then stop.")] = False,
) -> None:
    """Train a method on a folder of images, or on a data set known by name.

    Examples:

        i2i train cyclegan --data scenes --preset quick       # the built-in data, minutes on a CPU

        i2i train pix2pix --data facades/ --direction BtoA    # side-by-side pairs, or A/ and B/

        i2i train cyclegan --data horse2zebra                 # downloaded by name

        i2i train pix2pix --data my/ --set model.lambda_l1=50 --dry-run

    Any setting of `i2i config METHOD` can be given: as an option below, in a --config file, or as --set key=value.
    """
    from i2i.methods import chosen

    chosen(method)  # before torch loads
    if steps is not None and epochs is not None:
        raise UserError("--steps and --epochs both say how long to train", "give one of them")
    from i2i import models, runs
    from i2i.config import Layer, from_assignments, from_file
    from i2i.config import preset as shipped
    from i2i.training import ranks

    lengths = {"epochs": epochs, "steps": steps, "batch": batch}
    options: dict[str, dict[str, Any]] = {
        "data": {"source": data, "direction": direction, "size": size},
        "train": {**lengths, "device": device, "precision": precision, "seed": seed, "compile": compile},
    }
    layers = [
        *([shipped(method, preset)] if preset else []),
        *([from_file(config)] if config else []),
        *(
            Layer(f"--{'data' if key == 'source' else key}", {section: {key: value}})
            for section, values in options.items()
            for key, value in values.items()
            if value is not None
        ),
        from_assignments(assignments or []),
    ]
    configured = models.configure(method, layers)
    with ranks.joined() as group:
        prepared = _prepared(configured)
        start, said = models.starting_weights(prepared.config, init_from) if init_from else (None, "")
        if said:
            messages.say(said)
        if dry_run:
            _describe(prepared)
            return
        name = runs.name_of(configured.data.source)
        _train(Path(group.tell(lambda: str(runs.create(prepared, out, name, start)))), prepared)


def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
) -> None:
    """Go on with a run that was stopped, exactly where its last checkpoint stands. No option is needed.

    Example:

        i2i resume runs/cyclegan-horse2zebra-001
    """
    from i2i import runs
    from i2i.training import ranks

    with ranks.joined():
        _train(run, _prepared(runs.saved_config(run), decode=False))  # which was done when it was created


def _prepared(config: "Config", *, decode: bool = True) -> "Prepared":
    from i2i.prepare import prepare

    prepared = prepare(config, messages.say, decode=decode)
    for line in prepared.said:
        messages.say(f"data: {line}")
    return prepared


def _train(folder: Path, prepared: "Prepared") -> None:
    from i2i import runs
    from i2i.cli.screen import Screen
    from i2i.report.page import Page
    from i2i.summary import summary
    from i2i.training import ranks

    with Screen() as screen:
        page = Page(folder if ranks.join().is_first else None, screen.say)
        for name, trainer in runs.trainers(folder, prepared, screen, page.refresh):
            stage = f"stage '{name}' of " if name else ""
            if trainer.finished:
                screen.say(f"{stage}'{folder}' is trained to its end: there is nothing to do")
            else:
                screen.say(f"training {stage}{folder} on {trainer.precision.device} in {trainer.precision.name}")
                with page:
                    trainer.run()
    if trainer.ranks.is_first:
        about = summary(folder)
        if about["recommended"] != str(folder):
            messages.say(f"by {about['best_by']} {about['best']} is better than the last one: {about['recommended']}")
        messages.say(f"done; sample sheets are in {folder}/samples, the model is")
        messages.result(f"{folder}/model.safetensors")
        out = quote(f"{folder}/translated")
        messages.next_command(f"i2i translate {quote(about['recommended'])} {_inputs(prepared)} -o {out}")


def _inputs(prepared: "Prepared") -> str:
    """A folder of inputs, of held-out ones where they have a folder; not one whose files hold A and B together."""
    sides, x = prepared.held_out or prepared.train, prepared.config.data.x
    if sides.a[0].half:
        return "FOLDER"
    instances = f" --instances {quote(str(_root(sides.instances[0])))}" if x and x.instances and sides.instances else ""
    return quote(str(_root(sides.a[0]))) + instances


def _root(source: "Source") -> Path:
    """The folder in whose tree a file has its name, such as 3/a for one in a folder of class 3."""
    folder = source.path.parent
    for part in reversed(Path(source.name).parent.parts):
        folder = folder.parent if folder.name == part else folder
    return folder


def _describe(prepared: "Prepared") -> None:
    """What a dry run shows: every setting with its source, then the networks with their sizes."""
    from i2i import models

    show_config(prepared.config)
    for stage, config in prepared.config.by_stage().items():
        if stage:
            messages.result(f"# stage {stage}")
        _describe_players(models.without_weights(config))
    messages.say("dry run: nothing was written")


def _describe_players(method: "Method") -> None:
    for player, networks in method.players().items():
        for network in networks:
            name = next(n for n, m in method.named_modules() if m is network)
            count = sum(p.numel() for p in network.parameters())
            messages.result(f"# player {player}: {name}, {type(network).__name__}, {count:,} parameters")
