"""`i2i export`: a model for programs without torch."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from i2i.cli import messages
from i2i.cli.translate import Direction, NormStats
from i2i.errors import UserError


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run, a checkpoint folder, or a file of weights.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .onnx file to write.", show_default=False)],
    direction: Annotated[
        Direction | None, typer.Option(help="The way to go. [default: as trained]", show_default=False)
    ] = None,
    norm_stats: Annotated[
        NormStats,
        typer.Option(help="Statistics of batch norm: each image's own, as published, or those of the training."),
    ] = NormStats.image,
    check: Annotated[
        list[Path] | None,
        typer.Option(help="Compare on this image too, not only on random ones. Can be repeated.", show_default=False),
    ] = None,
) -> None:
    """Write a generator as ONNX, and a .json beside it that says how to use it: values, channels, sizes, padding.

    Examples:

        i2i export runs/cyclegan-horse2zebra-001 -o zebra.onnx

        i2i export runs/cyclegan-horse2zebra-001 -o horse.onnx --direction BtoA

        i2i export model.safetensors -o model.onnx --check photos/a.png --check photos/b.png

    Batch, height and width are free. What goes in is encoded already: colours from -1 to 1, labels one-hot with the boundaries
    of things behind them; a code is a second input, z. Dropout is off, as in `i2i translate`: the graph has no noise but z.
    pix2pix is published with each image's own batch norm; --norm-stats running suits one that was trained in large batches.
    ONNX Runtime then has to compute what torch computes, or nothing is written. It needs: pip install 'i2i-toolbox[export]'.
    """
    if out.suffix != ".onnx":
        raise UserError(f"the output is an .onnx file, not '{out}'", f"-o {quote(f'{out.stem}.onnx')}")
    from i2i import export as exporting
    from i2i.translate import Translator

    exporting.require()
    page = exporting.sidecar(out)
    for file in (out, page):
        if file.exists():
            raise UserError(f"'{file}' exists", "give another name with -o")
    translator = Translator.open(model, "cpu", "fp32", norm_stats=norm_stats.value)
    for line in translator.model.said:
        messages.say(line)
    messages.say(f"exporting '{translator.model.name}': {translator.model.config.method}, opset {exporting.OPSET}")
    way: Any = direction and direction.value
    found = exporting.export(translator, out, direction=way, files=check or (), say=messages.say)
    worst = max(found, key=lambda difference: difference.largest)
    messages.say(f"the same as torch but for rounding; the largest difference: {worst}")
    messages.say(f"how to use it: {page}")
    messages.result(str(out))
