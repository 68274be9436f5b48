"""Time the translation of a folder against a plain loop over it: images per second, and where the time goes.

    python tests/benchmarks/translate.py [resnet unet] [--sizes 256 1024] [--rounds 7] [--threads 2] [--device cuda]

Plain is what a careful person writes first, and what the published code does: image by image in float32 without gradients,
torch's own norm and padding layers, Pillow to read and to write PNG. Both have the published networks: ResNet-9 with instance
norm, and U-Net-256 with batch norm, which takes the statistics of the image at hand. The weights are random, and such networks
make noise; Pillow packs that in half the time of a photo, so plain comes off rather too well.

They do the whole folder in turn, each in a process of its own; the ratios are plain / ours, pair by pair, as minimum / median /
maximum. Nothing here is a test: figures depend on the machine.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from paired import Worker, in_turn, serve, taken, tell
from PIL import Image
from step import plainly
from torch import nn

from i2i import items
from i2i.config import Layer
from i2i.data.scenes import scene
from i2i.models import Model, build, configure
from i2i.translate import Translator

VARIANTS = ("plain", "fp32", "bf16")
METHODS = {"resnet": "cyclegan", "unet": "pix2pix"}


class Stages(NamedTuple):
    """Each does its part for a list of images, and gives it to the next."""

    decode: Callable[[list[Path]], Any]
    network: Callable[[Any], Any]
    encode: Callable[[Any], Any]


def model(kind: str) -> Model:
    sides = {"channels": 3}
    config = configure(METHODS[kind], [Layer("here", {"data": {"x": sides, "y": sides}})])
    return Model(build(config).eval(), config, kind)


# Plain


def plain(kind: str, out: Path, device: torch.device) -> Stages:
    G: nn.Module = plainly(model(kind).method.G).to(device)
    for layer in G.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()  # as published: the statistics of the image, which is a batch of its own

    def decode(files: list[Path]) -> list[tuple[Path, torch.Tensor]]:
        return [(file, decoded(file)) for file in files]

    def network(given: list[tuple[Path, torch.Tensor]]) -> list[tuple[Path, torch.Tensor]]:
        with torch.no_grad():
            return [(file, G(x.to(device)).cpu()) for file, x in given]

    def encode(made: list[tuple[Path, torch.Tensor]]) -> None:
        for file, y in made:
            array = ((y[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(array).save(out / f"{file.stem}.png")

    return Stages(decode, network, encode)


def decoded(file: Path) -> torch.Tensor:
    array = np.array(Image.open(file).convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).float().div(127.5).sub(1)[None]


def plain_folder(stages: Stages, folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        stages.encode(stages.network(stages.decode([file])))


# Ours


def ours(kind: str, precision: str, device: torch.device) -> Translator:
    found = model(kind)
    found.method.to(device)
    return Translator(found, device, precision)  # type: ignore[arg-type]


def our_folder(translator: Translator, folder: Path, out: Path) -> None:
    for record in translator.translate_folder(folder, out, existing="overwrite"):
        assert record.status == "done", record.error


def our_stages(translator: Translator, out: Path) -> Stages:
    """The same without threads, one after the other."""
    way = translator.way()

    def decode(files: list[Path]) -> list[items.Item]:
        return [items.read(job, way) for job in translator.plan(files, out, existing="overwrite")]

    def network(read: list[items.Item]) -> list[items.Item]:
        for start in range(0, len(read), most := translator.engine.usual_batch(way)):
            batch = read[start : start + most]
            given = [item.given for item in batch if item.given]
            for item, one, computed in zip(batch, given, translator.engine.outputs(given, way), strict=True):
                item.results = [computed.pictures(one, way)]
        return read

    def encode(made: list[items.Item]) -> None:
        for item in made:
            items.write(item, way.y, items.Packing())

    return Stages(decode, network, encode)


# Both


def folder_run(kind: str, variant: str, folder: Path, out: Path, device: torch.device) -> Callable[[], None]:
    if variant == "plain":
        return partial(plain_folder, plain(kind, out, device), folder)
    return partial(our_folder, ours(kind, variant, device), folder, out)


def shares(kind: str, variant: str, folder: Path, out: Path, device: torch.device) -> str:
    """Milliseconds of processor time for an image in each stage, and their shares."""
    files = sorted(folder.iterdir())
    stages = plain(kind, out, device) if variant == "plain" else our_stages(ours(kind, variant, device), out)
    stages.encode(stages.network(stages.decode(files[:1])))  # warm up
    given: Any = files
    spent = {}
    for name, stage in stages._asdict().items():
        kept: list[Any] = []
        spent[name] = taken(lambda stage=stage, given=given, kept=kept: kept.append(stage(given))).cpu  # type: ignore[misc]
        given = kept[0]
    whole = sum(spent.values())
    return ", ".join(f"{name} {1000 * s / len(files):.1f} ms ({s / whole:.1%})" for name, s in spent.items())


def draw_photos(folder: Path, size: int, count: int) -> None:
    for index in range(count):
        Image.fromarray(scene(0, index, size).photo).save(folder / f"{index:03}.jpg", quality=92)


def time_folder(kind: str, size: int, arguments: argparse.Namespace) -> None:
    count = arguments.images or max(4, 16 * 256**2 // size**2)
    with tempfile.TemporaryDirectory() as name:
        folder, title = Path(name) / "photos", f"{kind} {size}"
        folder.mkdir()
        draw_photos(folder, size, count)
        outs = {variant: Path(name) / variant for variant in VARIANTS}
        for out in outs.values():
            out.mkdir()
        words = ["--threads", str(arguments.threads), "--folder", str(folder), "--device", str(arguments.device)]
        workers = {v: Worker([__file__, kind, "--serve", v, "--out", str(out), *words]) for v, out in outs.items()}
        times = in_turn({v: worker.run for v, worker in workers.items()}, arguments.rounds, warm_up=1)
        tell(title, times, "images/s", lambda seconds: count / seconds)
        for v, worker in workers.items():
            print(f"{title:<9} {v:<7} peak memory {worker.peak_memory():6.0f} MB", flush=True)
        for v, out in outs.items():
            print(f"{title:<9} {v:<7} {shares(kind, v, folder, out, arguments.device)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(METHODS))
    parser.add_argument("--sizes", nargs="*", type=int, default=[256, 1024])
    parser.add_argument("--images", type=int, help="in the folder [default: 16 of 256 px, 4 of 1024]")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        serve(folder_run(arguments.kinds[0], arguments.serve, arguments.folder, arguments.out, arguments.device))
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    for size in arguments.sizes:
        for kind in arguments.kinds:
            time_folder(kind, size, arguments)


if __name__ == "__main__":
    main()
