"""Time one training step, and one training sample, against a plain straightforward implementation.

    python tests/benchmarks/step.py [pix2pix cyclegan] [--size 256] [--rounds 7] [--device cuda]

Plain is what a careful person writes first, and what the published code does: float32, torch's own norm and padding layers,
one pass for every image, networks frozen and unfrozen, Adam tensor by tensor, images decoded by Pillow one by one. They take
their steps in turn, each in a process of its own, so that a noisy machine disturbs all; the ratios are plain / ours, pair by
pair, as minimum / median / maximum. Nothing here is a test: figures depend on the machine.
"""

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from paired import Worker, compare, in_turn, serve, tell
from PIL import Image
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from i2i.config import DataSettings
from i2i.data.folders import Source
from i2i.data.loader import collate
from i2i.data.reader import Reader
from i2i.data.samples import PairedSamples, UnpairedSamples
from i2i.data.scenes import scene
from i2i.domain import Domain
from i2i.losses.history import History
from i2i.method import Batch, Method
from i2i.models import method_class
from i2i.networks.layers import InstanceNorm2d, ReflectionPad2d
from i2i.networks.patchgan import Maps
from i2i.training.memory import keep_freed_memory
from i2i.training.precision import Precision
from i2i.training.update import Updater

VARIANTS = {"cpu": ("plain", "fp32", "bf16"), "cuda": ("plain", "fp32", "bf16", "fp16", "bf16-compiled")}
AT_ONCE = {"cpu": 1, "cuda": 20}
"""The steps of a round: on a GPU one alone is too short to be timed."""


def ours(name: str, variant: str, device: torch.device) -> Callable[[Any], None]:
    """One step as the trainer takes it."""
    method = fresh(name).to(device)
    precision, _, compiled = variant.partition("-")
    if compiled:
        for network in {n for player in method.players().values() for n in player}:
            network.compile()
    chosen = Precision(precision, device)  # type: ignore[arg-type]
    update = Updater(method, precision=chosen)

    def step(batch: Any) -> None:
        with chosen.autocast():
            method.step(batch, update)

    return step


def plain(name: str, device: torch.device) -> Callable[[Any], None]:
    """One step as it is written first."""
    method = plainly(fresh(name)).to(device)
    players = {player: list(nn.ModuleList(networks).parameters()) for player, networks in method.players().items()}
    adam = {p: torch.optim.Adam(ps, 2e-4, betas=(0.5, 0.999), foreach=False, fused=False) for p, ps in players.items()}
    return {"pix2pix": plain_pix2pix, "cyclegan": plain_cyclegan}[name](method, adam)


def fresh(name: str) -> Method:
    torch.manual_seed(0)
    kind = method_class(name)
    return kind(kind.Config(), Domain.of(3), Domain.of(3))


def plainly(module: nn.Module) -> Any:
    """The same network with torch's own layers in place of ours."""
    for name, child in module.named_children():
        if isinstance(child, InstanceNorm2d):
            setattr(module, name, nn.InstanceNorm2d(1))
        elif isinstance(child, ReflectionPad2d):
            setattr(module, name, nn.ReflectionPad2d(child.padding))
        else:
            plainly(child)
    return module


def learns(network: nn.Module, does: bool) -> None:
    for p in network.parameters():
        p.requires_grad = does


def plain_pix2pix(m: Any, adam: dict[str, torch.optim.Optimizer]) -> Callable[[Any], None]:
    def judged(maps: Maps, real: bool) -> torch.Tensor:
        logits = maps[0][-1]
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def step(batch: Any) -> None:
        x, y = batch.x, batch.y
        fake = m.G(x)
        learns(m.D, True)
        adam["D"].zero_grad()
        loss_fake = judged(m.D(torch.cat([x, fake.detach()], 1)), False)
        loss_real = judged(m.D(torch.cat([x, y], 1)), True)
        (0.5 * (loss_fake + loss_real)).backward()
        adam["D"].step()
        learns(m.D, False)
        adam["G"].zero_grad()
        (judged(m.D(torch.cat([x, fake], 1)), True) + 100 * l1_loss(fake, y)).backward()
        adam["G"].step()

    return step


def plain_cyclegan(m: Any, adam: dict[str, torch.optim.Optimizer]) -> Callable[[Any], None]:
    history_x, history_y = History(50), History(50)

    def judged(maps: Maps, real: bool) -> torch.Tensor:
        logits = maps[0][-1]
        return mse_loss(logits, torch.full_like(logits, float(real)))

    def step(batch: Any) -> None:
        x, y = batch.x, batch.y
        fake_y = m.G(x)
        back_x = m.F(fake_y)
        fake_x = m.F(y)
        back_y = m.G(fake_x)
        learns(m.D_X, False)
        learns(m.D_Y, False)
        adam["G"].zero_grad()
        loss = judged(m.D_Y(fake_y), True) + judged(m.D_X(fake_x), True)
        loss = loss + 10 * l1_loss(back_x, x) + 10 * l1_loss(back_y, y)
        loss = loss + 5 * l1_loss(m.G(y), y) + 5 * l1_loss(m.F(x), x)
        loss.backward()
        adam["G"].step()
        learns(m.D_X, True)
        learns(m.D_Y, True)
        adam["D"].zero_grad()
        for D, real, fake in ((m.D_Y, y, history_y.query(fake_y)), (m.D_X, x, history_x.query(fake_x))):
            (0.5 * (judged(D(real), True) + judged(D(fake), False))).backward()
        adam["D"].step()

    return step


def steps_of(name: str, variant: str, size: int, device: torch.device) -> Callable[[], None]:
    """The steps of a round."""
    step = plain(name, device) if variant == "plain" else ours(name, variant, device)
    generator = torch.Generator().manual_seed(1)
    batch = Batch(*(torch.rand(2, 1, 3, size, size, generator=generator) * 2 - 1).to(device))

    def steps() -> None:
        for _ in range(AT_ONCE[device.type]):
            step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return steps


def time_steps(name: str, arguments: argparse.Namespace) -> None:
    words = ["--size", str(arguments.size), "--threads", str(arguments.threads), "--device", arguments.device]
    workers = {variant: Worker([__file__, name, "--serve", variant, *words]) for variant in VARIANTS[arguments.device]}
    times = in_turn({variant: worker.run for variant, worker in workers.items()}, arguments.rounds, warm_up=2)
    tell(name, times, "ms a step", lambda seconds: 1000 * seconds / AT_ONCE[arguments.device])
    for variant, worker in workers.items():
        print(f"{name:<9} {variant:<7} peak memory {worker.peak_memory():6.0f} MB", flush=True)


def time_samples(kind: str, size: int, rounds: int, count: int = 32) -> None:
    """A training pair as float tensors: from Pillow file by file, and from our cache."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index in range(count):
            files.append(Path(folder) / f"{index}.jpg")
            cv2.imwrite(str(files[-1]), scene(0, index, size).photo[:, :, ::-1])
        domain = Domain.of(3)
        settings = DataSettings(size=size, x=domain, y=domain)
        sources = [Source(file, file.stem) for file in files]
        samples = (PairedSamples if kind == "paired" else UnpairedSamples)(
            sources, sources, settings, Reader(settings, 10**9), 0
        )
        draw = random.Random(0)

        def by_pillow() -> None:
            for number in range(count):
                place = [draw.randrange(settings.resized[0] - size + 1) for _ in range(2)]
                for file in (files[number], files[-number]):
                    by_hand(file, settings.resized[0], size, place, draw.random() < 0.5)

        def cached() -> None:
            for number in range(count):
                for side in collate([samples[number]])[:2]:
                    domain.to_float(side.permute(0, 3, 1, 2)).contiguous()

        times = compare({"pillow": by_pillow, "cached": cached}, rounds)
        tell(kind, times, "ms a pair", lambda seconds: 1000 * seconds / count)


def by_hand(file: Path, load: int, size: int, place: list[int], flip: bool) -> torch.Tensor:
    image = Image.open(file).convert("RGB").resize((load, load), Image.Resampling.BICUBIC)
    image = image.crop((place[1], place[0], place[1] + size, place[0] + size))
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
    return (tensor - 0.5) / 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["pix2pix", "cyclegan"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=VARIANTS, default="cpu")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.serve:
        if arguments.serve != "plain" and arguments.device == "cpu":
            keep_freed_memory()  # as the trainer does
        serve(steps_of(arguments.methods[0], arguments.serve, arguments.size, torch.device(arguments.device)))
        return
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.size} px, batch 1, {arguments.rounds} rounds"
    )
    for name in arguments.methods:
        time_steps(name, arguments)
        if arguments.device == "cpu":
            time_samples(method_class(name).data, arguments.size, arguments.rounds)


if __name__ == "__main__":
    main()
