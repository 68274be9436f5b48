"""Translate in tiles and in one piece: how much differs, how much memory it takes at most, and how long it takes.

    python tests/benchmarks/tiles.py [--sides 1024 2048 4096 8192] [--tile 512] [--width 8] [--blocks 2] [--threads 2]

First, the largest difference in 8-bit levels between an image in tiles and the same in one piece, in float32, for every kind of
generator that is exact and every norm, with weights that make full use of the range. Then a square image of each side, with a
ResNet in tiles, each in a process of its own: processor time, and the most memory at once, without the image and its result. A
part of what the tiles add is freed memory that the C library keeps, more of it where tiles have several sizes: with
MALLOC_MMAP_THRESHOLD_=65536 in the environment it keeps none. Nothing here is a test: figures depend on the machine.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from i2i import items
from i2i.config import Layer
from i2i.domain import Domain
from i2i.engine import Engine, Tile
from i2i.images import Picture
from i2i.method import Accepts
from i2i.models import build, configure
from i2i.networks.coarse_to_fine import GlobalGenerator, LocalEnhancer
from i2i.networks.layers import BatchNorm2d, NormName, initialise, with_image_statistics
from i2i.networks.refiner import Refiner
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet
from i2i.tiles import tiled

CPU = torch.device("cpu")
NETWORKS: dict[str, tuple[Callable[[NormName], nn.Module], Accepts, int]] = {
    "ResNet-9": (lambda norm: ResNet(3, 3, norm=norm), Accepts(4, 8, ResNet.halo(9)), 512),
    "pix2pixHD global": (
        lambda norm: GlobalGenerator(3, 3, width=16, halvings=3, blocks=4, norm=norm),
        Accepts(8, 16, GlobalGenerator.halo(3, 4)),
        1024,
    ),
    "pix2pixHD local": (
        lambda norm: LocalEnhancer(3, 3, width=8, halvings=3, blocks=2, enhancers=1, local_blocks=2, norm=norm),
        Accepts(16, 32, LocalEnhancer.halo(3, 2, 1, 2)),
        1024,
    ),
    "refiner": (lambda norm: Refiner(3), Accepts(1, 1, Refiner.halo(4, 3)), 500),
    "U-Net-64": (lambda norm: UNet(3, 3, depth=6, norm=norm), Accepts(64, 64, UNet.halo(6)), 1024),
}
NORMS = {"instance": "instance", "batch, of the image": "batch", "batch, running": "batch", "none": "none"}
"""The words for a norm, and the setting behind it."""


# What differs


def differences(tile: int) -> None:
    for name, (build_network, accepts, side) in NETWORKS.items():
        for norm, setting in NORMS.items() if name != "refiner" else {"none": "none"}.items():
            G = drawn(build_network(setting), by_image=norm != "batch, running")  # type: ignore[arg-type]
            x = pictured(side)
            levels = 127.5 * most_apart(G, x, accepts, tile)
            print(f"{name:<17} {norm:<20} {side} px in tiles of {tile}: at most {levels:.4f} levels apart", flush=True)


def drawn(G: nn.Module, *, by_image: bool) -> nn.Module:
    torch.manual_seed(0)
    initialise(G, "kaiming")
    for layer in G.modules():
        if isinstance(layer, BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0.0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return (with_image_statistics(G) if by_image else G).eval().to(memory_format=torch.channels_last)


def pictured(side: int) -> Tensor:
    """(1, 3, side, side): noise, brighter on the right and darker below, so that every tile has statistics of its own."""
    x = 0.3 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    x[..., side // 2 :] += 0.6
    x[..., side // 3 :, :] -= torch.linspace(0, 0.5, side)
    return x.clamp(-1, 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def most_apart(G: nn.Module, x: Tensor, accepts: Accepts, tile: int) -> float:
    whole, height, width = G(x), x.shape[2], x.shape[3]
    pieces = tiled(lambda rows, columns: G(x[..., rows, columns]), (height, width), accepts, tile, G)
    return max((piece - whole[..., rows, columns]).abs().max().item() for rows, columns, piece in pieces)


# Memory and time


def measured(side: int, tile: Tile, width: int, blocks: int) -> dict[str, float]:
    """A square image in this process."""
    sides, generator = {"channels": 3}, {"width": width, "blocks": blocks}
    config = configure("cyclegan", [Layer("here", {"data": {"x": sides, "y": sides}, "model": {"generator": generator}})])
    method = build(config).eval()
    way = items.Way(Domain.of(3), Domain.of(3), method.accepts(), False, False, False)
    engine = Engine(method, CPU, "fp32", tile)

    def translate(side: int) -> int:
        """The bytes of an image and its result."""
        values = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        given = items.ready(Picture(values), None, way, [None])
        (computed,) = engine.outputs([given], way)
        (made,) = computed.pictures(given, way)
        return values.nbytes + made.array.nbytes

    translate(16)
    before, start = memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    both = translate(side) / 2**20
    return {
        "peak": memory("VmHWM") - both,
        "before": before,
        "images": both,
        "seconds": (time.process_time() - start) / side**2 * 1e6,
    }


def memory(what: str) -> float:
    """Megabytes."""
    found = re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def profile(arguments: argparse.Namespace) -> None:
    more = ["--tile", arguments.tile, "--width", arguments.width, "--blocks", arguments.blocks, "--threads", arguments.threads]
    for side in arguments.sides:
        command = [sys.executable, __file__, "--sides", side, "--measure", *more]
        answer = json.loads(subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout)
        print(
            f"{side} px: {answer['peak']:.0f} MB at most, {answer['peak'] - answer['before']:.0f} of them added, "
            f"beside {answer['images']:.0f} MB of the image and its result, "
            f"{answer['seconds']:.2f} s of processor time for a megapixel",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="*", type=int, default=[1024, 2048, 4096, 8192])
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--width", type=int, default=8, help="of the ResNet; the published one has 64")
    parser.add_argument("--blocks", type=int, default=2, help="of the ResNet; the published one has 9")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=["differences", "memory"])
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        print(json.dumps(measured(arguments.sides[0], arguments.tile, arguments.width, arguments.blocks)))
        return
    if arguments.only != "memory":
        differences(arguments.tile // 2)
    if arguments.only != "differences":
        profile(arguments)


if __name__ == "__main__":
    main()
