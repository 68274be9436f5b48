"""`i2i import`: a model of another program becomes a file of ours."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from i2i.cli import messages
from i2i.errors import UserError


def import_(
    model: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="latest_net_G.pth, or a folder with all of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.", show_default=False)],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="What the files cannot tell: key=value, of model or data. Can be repeated."),
    ] = None,
) -> None:
    """Turn a model of pytorch-CycleGAN-and-pix2pix, pix2pixHD or BicycleGAN into one file that says itself what it is.

    Examples:

        i2i import checkpoints/horse2zebra_pretrained/latest_net_G.pth -o horse2zebra.safetensors

        i2i import checkpoints/maps_cyclegan/ -o maps.safetensors

        i2i import checkpoints/label2city/ -o city.safetensors --set data.x.instances=false --set data.x.channels=35

    The method and its networks are read off the names and shapes of the weights; it is printed what was read off what, and what
    is assumed. No code in the files is run. `i2i translate` and `--init-from` also take such files as they are.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"the output is a .safetensors file, not '{out}'", f"-o {quote(f'{out.stem}.safetensors')}")
    if out.exists():
        raise UserError(f"'{out}' exists", "give another name with -o")
    from i2i import foreign, models, runs
    from i2i.config import from_assignments
    from i2i.training import checkpoint

    if not foreign.is_foreign(model):
        hint = "a .pth file, or a folder with files such as latest_net_G.pth; other models are translated with as they are"
        raise UserError(f"there is no model of another program in '{model}'", hint)
    config, weights, said = models.imported(model, [from_assignments(assignments or [])])
    for line in said:
        messages.say(line)
    about = {"config": config.tree(), "made_with": runs.made_with(), "imported": model.resolve().name}
    checkpoint.export(out, weights, about)
    messages.say(f"{config.method}: {config.data.x} -> {config.data.y}")
    messages.result(str(out))
    messages.next_command(f"i2i translate {quote(str(out))} FOLDER -o OUT")
