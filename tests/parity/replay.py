"""Replay a trace that was recorded from an original implementation through our own method and update.

    python tests/parity/replay.py tests/parity/traces/pix2pix_vanilla_batchnorm [--float64]

A trace holds starting weights, batches and options, and what the original computed from them. The replay builds the same
networks from the trace's own description, drives the `step` and the `Updater` that training uses, and prints the largest
difference in losses, pictures, first gradients and final weights. Exit status 0 within the tolerances that the trace states
(with --float64: losses to 1e-9, updates to 1e-7), 1 outside, 2 for a trace that cannot be replayed; the last line is a summary.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from i2i.config import Layer
from i2i.domain import Domain
from i2i.method import Batch, Method, Sheet
from i2i.methods.parts import Discriminator, Generator, Initial
from i2i.models import configure, method_class
from i2i.networks.coarse_to_fine import FeatureEncoder, GlobalGenerator, LocalEnhancer
from i2i.networks.encoder import ResidualEncoder
from i2i.networks.instances import instance_mean
from i2i.networks.latent_unet import LatentUNet
from i2i.networks.patchgan import HalvingPatchGAN, MultiScalePatchGAN
from i2i.training.schedule import factor
from i2i.training.update import Updater

GAN = {"vanilla": "vanilla", "lsgan": "lsgan", "wgangp": "wgan-gp"}
FAR = 0.01
"""Of an update, in float32: Adam takes whole steps along gradients that are nothing but rounding, which differs between
processors (3.6e-6 on one, 1.6e-3 on another). float64 is what tells that from mistakes."""
SHARP = {"loss_abs": 1e-9, "update_rel": 1e-7, "sum_abs": 1e-6, "lr_abs": 1e-12, "counters": 0}


class CannotReplay(Exception):
    """The trace depends on something that it does not hold or that i2i does not have."""


class Names(NamedTuple):
    """How the original's names map onto ours: its networks, its losses as functions of our terms, its pictures."""

    networks: dict[str, str]
    losses: dict[str, Callable[[dict[str, Tensor]], Tensor]]
    pictures: dict[str, str]


NAMES = {
    "pix2pix": Names(
        {"G": "G", "D": "D"},
        {
            "G_GAN": lambda t: t["G/gan"],
            "G_L1": lambda t: t["G/l1"],
            "G_total": lambda t: t["G/gan"] + t["G/l1"],
            "D_real": lambda t: 2 * t["D/real"],  # reported before it is halved
            "D_fake": lambda t: 2 * t["D/fake"],
            "D_total": lambda t: t["D/real"] + t["D/fake"],
        },
        {"fake_B": "output"},
    ),
    "cyclegan": Names(
        {"G_A": "G", "G_B": "F", "D_A": "D_Y", "D_B": "D_X"},  # the original's D_A judges domain B
        {
            "G_A": lambda t: t["G/gan_y"],
            "G_B": lambda t: t["G/gan_x"],
            "cycle_A": lambda t: t["G/cycle_x"],
            "cycle_B": lambda t: t["G/cycle_y"],
            "idt_A": lambda t: t.get("G/identity_y", torch.zeros(())),  # reported as 0 where its weight is 0
            "idt_B": lambda t: t.get("G/identity_x", torch.zeros(())),
            "D_A": lambda t: t["D/real_y"] + t["D/fake_y"],
            "D_B": lambda t: t["D/real_x"] + t["D/fake_x"],
            "G_total": lambda t: sum((v for k, v in t.items() if k.startswith("G/")), torch.zeros(())),
        },
        {"fake_B": "G(x)", "rec_A": "F(G(x))", "fake_A": "F(y)", "rec_B": "G(F(y))", "idt_A": "G(y)", "idt_B": "F(x)"},
    ),
    "bicyclegan": Names(
        {"G": "G", "E": "E", "D": "D", "D2": "D2"},
        {
            "G_GAN": lambda t: t["G/gan"],
            "G_GAN2": lambda t: t["G/gan2"],
            "G_L1": lambda t: t["G/l1"],
            "kl": lambda t: t["G/kl"],
            "z_L1": lambda t: t["G/z"],
            "G_total_without_z_L1": lambda t: t["G/gan"] + t["G/gan2"] + t["G/l1"] + t["G/kl"],
            "D": lambda t: t["D/real"] + t["D/fake"],
            "D_real": lambda t: t["D/real"],
            "D_fake": lambda t: t["D/fake"],
            "D2": lambda t: t["D2/real"] + t["D2/fake"],
            "D2_real": lambda t: t["D2/real"],
            "D2_fake": lambda t: t["D2/fake"],
        },
        {"fake_B_encoded": "encoded", "fake_B_random": "random", "mu": "mu", "logvar": "logvar", "mu2": "mu2"},
    ),
    "pix2pixhd": Names(
        {"G": "G", "D": "D"},
        {
            "G_GAN": lambda t: t["G/gan"],
            "G_GAN_Feat": lambda t: t["G/feat"],
            "G_total": lambda t: t["G/gan"] + t["G/feat"],
            "D_real": lambda t: 2 * t["D/real"],  # reported before it is halved
            "D_fake": lambda t: 2 * t["D/fake"],
            "D_total": lambda t: t["D/real"] + t["D/fake"],
        },
        {"fake_image": "output"},
    ),
}


class Trace:
    """One recorded folder: its tensors by name, floating ones widened, and its description."""

    def __init__(self, folder: Path, dtype: torch.dtype):
        self.about = json.loads((folder / "trace.json").read_text())
        tensors = load_file(folder / "trace.safetensors")
        self.tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}

    def below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


class Differences:
    """The largest difference of each kind, with its place and what it may be."""

    def __init__(self, allowed: dict[str, float]):
        self.allowed = allowed
        self.worst: dict[str, tuple[float, str]] = dict.fromkeys(allowed, (0.0, "nothing"))
        self.compared, self.unknown = 0, dict[str, None]()

    def note(self, kind: str, value: float, place: str) -> None:
        self.compared += 1
        if not value <= self.worst[kind][0]:  # a NaN is the largest of all
            self.worst[kind] = (value, place)

    def outside(self) -> list[str]:
        """The kinds whose largest difference is more than it may be."""
        return [kind for kind, (value, _) in self.worst.items() if not value <= self.allowed[kind]]

    def report(self, name: str) -> bool:
        """Print all kinds and a summary; True where all are within bounds and something was compared."""
        outside = self.outside()
        good = self.compared > 0 and not outside
        if self.unknown:
            print(f"not compared, since i2i has nothing of that name: {', '.join(self.unknown)}")
        for kind, (value, place) in self.worst.items():
            print(
                f"{'FAIL' if kind in outside else 'ok  '} {kind:<17} {value:.3g} (allowed {self.allowed[kind]:.3g}) at {place}"
            )
        print(f"{name}: {'within' if good else 'OUTSIDE'} tolerance, {self.compared} comparisons")
        return good


def generator_of(network: dict[str, Any]) -> dict[str, Any]:
    """A trace's generator as settings."""
    shared = {"width": network["ngf"], "norm": norm_of(network), "dropout": network["dropout"]}
    if network["kind"] == "U-Net":
        return {"kind": "unet", "depth": network["num_downs"], **shared}
    if network["kind"] == "ResNet" and network.get("n_downsampling", 2) == 2:
        return {"kind": "resnet", "blocks": network["n_blocks"], **shared}
    raise CannotReplay(f"the generator is a {network['kind']} that i2i does not have")


def discriminator_of(network: dict[str, Any]) -> dict[str, Any]:
    shared = {"width": network["ndf"], "norm": norm_of(network)}
    if network["kind"] == "PatchGAN" and network.get("padding", 1) == 1:
        return {"kind": "patch", "layers": network["n_layers"], **shared}
    if "pixel" in network["kind"]:
        return {"kind": "pixel", **shared}
    raise CannotReplay(f"the discriminator is a {network['kind']} that i2i does not have")


def latent_settings_of(about: dict[str, Any]) -> dict[str, Any]:
    """The options of BicycleGAN as settings; its four networks have each their own kind."""
    options, (G, E, D) = about["options"], (about["networks"][name] for name in ("G", "E", "D"))
    return {
        "z": options["nz"],
        "generator": latent_unet_of(G),
        "encoder": {"blocks": E["n_blocks"], "width": E["nef"], "norm": E["norm"]},
        "discriminator": halving_patchgan_of(D),
        "conditional": options["conditional_D"],
        "gan": GAN[options["gan_mode"]],
        "lambda_gan": options["lambda_GAN"],
        "lambda_gan2": options["lambda_GAN2"],
        "lambda_l1": options["lambda_L1"],
        "lambda_kl": options["lambda_kl"],
        "lambda_z": options["lambda_z"],
    }


def latent_unet_of(network: dict[str, Any]) -> dict[str, Any]:
    upsample = {"basic": "transposed", "bilinear": "bilinear"}[network["upsample"]]
    named = {"where": network["where_add"], "depth": network["num_downs"], "width": network["ngf"], "norm": network["norm"]}
    return {**named, "upsample": upsample, "dropout": network["dropout"]}


def halving_patchgan_of(network: dict[str, Any]) -> dict[str, Any]:
    width = network["widths"][0]
    if network["padding"] != 1 or network["widths"] != [width // 2**scale for scale in range(network["num_D"])]:
        raise CannotReplay("the discriminators are of a kind that i2i does not have")
    return {"scales": network["num_D"], "layers": network["n_layers"], "width": width, "norm": network["norm"]}


def coarse_to_fine_settings_of(about: dict[str, Any]) -> dict[str, Any]:
    """The options of pix2pixHD as settings. Its VGG loss was off, and traces with instance features are not recorded."""
    options, networks = about["options"], about["networks"]
    if options["instance_feat"] or options["no_lsgan"] or not options["no_vgg_loss"]:
        raise CannotReplay("the trace uses instance features, another GAN loss or VGG")
    return {
        "generator": coarse_to_fine_of(networks["G"]),
        "discriminator": multi_scale_patchgan_of(networks["D"]),
        "lambda_feat": 0 if options["no_ganFeat_loss"] else options["lambda_feat"],
        "lambda_perceptual": 0,
        "history": options["pool_size"],
    }


def coarse_to_fine_of(network: dict[str, Any]) -> dict[str, Any]:
    inside = {"halvings": network["n_downsample_global"], "blocks": network["n_blocks_global"]}
    named = {"width": network["ngf"], **inside, "norm": network["norm"]}
    if "n_local_enhancers" not in network:
        return named
    return {**named, "enhancers": network["n_local_enhancers"], "local_blocks": network["n_blocks_local"]}


def multi_scale_patchgan_of(network: dict[str, Any]) -> dict[str, Any]:
    named = {"scales": network["num_D"], "layers": network["n_layers"], "width": network["ndf"], "norm": network["norm"]}
    if network["padding"] != 2:
        raise CannotReplay("the discriminators are of a kind that i2i does not have")
    return named


def norm_of(network: dict[str, Any]) -> str:
    return "batch" if network["norm"] == "syncbatch" else network["norm"]


def settings_of(about: dict[str, Any]) -> dict[str, Any]:
    """The trace's options as settings of our method. The originals never apply a gradient penalty."""
    if about["method"] == "pix2pixhd":
        return coarse_to_fine_settings_of(about)
    options, networks = about["options"], about["networks"]
    if options["gan_mode"] not in GAN:
        raise CannotReplay(f"i2i has no GAN loss '{options['gan_mode']}'")
    if any(network.get("dropout") for network in networks.values()):
        raise CannotReplay("the networks have dropout, and its draws are not recorded")
    if about["method"] == "bicyclegan":
        return latent_settings_of(about)
    first, judge = next(iter(networks.values())), next(n for name, n in networks.items() if name.startswith("D"))
    shared = {
        "generator": generator_of(first),
        "discriminator": discriminator_of(judge),
        "gan": {"kind": GAN[options["gan_mode"]], "lambda_gp": 0},
    }
    if about["method"] == "pix2pix":
        return {**shared, "lambda_l1": options["lambda_L1"]}
    weights = {
        "lambda_cycle_x": options["lambda_A"],
        "lambda_cycle_y": options["lambda_B"],
        "lambda_identity": options["lambda_identity"],
    }
    return {**shared, **weights, "history": options["pool_size"]}


def build(about: dict[str, Any]) -> Method:
    config = configure(about["method"], [Layer("the trace", {"model": settings_of(about)})])
    return method_class(about["method"])(config.model, input_side(about), Domain.of(about["options"]["output_nc"]))


def input_side(about: dict[str, Any]) -> Domain:
    options = about["options"]
    if options.get("label_nc"):
        return Domain(channels=options["label_nc"], labels=True, instances=not options["no_instance"])
    return Domain.of(options["input_nc"])


def batch_of(trace: Trace, step: int) -> Batch:
    """What a step is fed, label maps one-hot."""
    fed = trace.below(f"batch/{step}/")
    if "label" in fed:
        x = input_side(trace.about).to_float(fed["label"]).to(fed["image"])
        return Batch(x, fed["image"], instances=fed.get("inst"))
    return Batch(fed["B"], fed["A"]) if trace.about["options"].get("direction") == "BtoA" else Batch(fed["A"], fed["B"])


def rate(about: dict[str, Any], step: int) -> float:
    """The schedule's factor at a step, which moves on after every epoch.

    Of the original's schedules i2i has `linear` and the first half-wave of `cosine`; the others are computed here, so that
    the rest of such a trace can be compared. Only `linear` looks at epoch_count, the number of the first epoch.
    """
    options = about["options"]
    done = step // about.get("steps_per_epoch", about["steps"] + 1)
    policy, constant, decay = (
        options.get("lr_policy", "constant"),
        options.get("n_epochs", 100),
        options.get("n_epochs_decay", 100),
    )
    if policy == "linear":
        return factor("linear", done + options.get("epoch_count", 1) - 1, constant + decay, constant)
    if policy == "cosine":  # it rises again after n_epochs, whatever n_epochs_decay says
        return factor("cosine", done, constant, 0) if done <= constant else 0.5 * (1 + math.cos(math.pi * done / constant))
    if policy == "step":
        return 0.1 ** (done // options.get("lr_decay_iters", 50))
    if policy == "constant":
        return factor("constant", done, constant, constant)
    raise CannotReplay(f"i2i has no schedule '{policy}'")


def updater(about: dict[str, Any], method: Method) -> Updater:
    """The trace's optimizers, one for each player of ours."""
    optimizers = about["optimizers"]
    for name, o in optimizers.items():
        if (o["kind"], o["eps"], o["weight_decay"]) != ("Adam", 1e-8, 0) or o["betas"] != optimizers["G"]["betas"]:
            raise CannotReplay(f"the optimizer of {name} is not the one of i2i: {o}")
    return Updater(method, player_lr={name: o["lr"] for name, o in optimizers.items()}, betas=tuple(optimizers["G"]["betas"]))


def require_known_draws(about: dict[str, Any], batch: int) -> None:
    """The history draws nothing before it is full; after that, its draws would have to be recorded."""
    size = about["options"].get("pool_size", 0)
    if about["method"] == "cyclegan" and 0 < size < about["steps"] * batch:
        raise CannotReplay(f"a history of {size} images is full before the last step, and its draws are not recorded")


def relative(new: float, ref: float) -> float:
    return abs(new - ref) / max(abs(ref), 0.01)


def share(difference: Tensor, whole: Tensor) -> float:
    """|difference| / |whole| as vectors; 0/0 is 0."""
    top, bottom = difference.double().norm().item(), whole.double().norm().item()
    return top / bottom if bottom else top


def replay(folder: Path, float64: bool = False) -> bool:
    """Replay one trace of training and print how it went; True where it agrees."""
    return replayed(folder, float64).report(f"{folder.name} in {'float64' if float64 else 'float32'}")


def replayed(folder: Path, float64: bool = False) -> Differences:
    """What one trace of training and its replay differ in."""
    trace = Trace(folder, torch.float64 if float64 else torch.float32)
    about = trace.about
    if about["method"] not in NAMES:
        raise CannotReplay(f"i2i has no method '{about['method']}' yet")
    names = NAMES[about["method"]]
    rounding = about["suggested_tolerance"] | {"final_rel_update": FAR, "lr_abs": 1e-12, "counters": 0}
    differences = Differences(SHARP if float64 else rounding)
    method = build(about)
    require_known_draws(about, len(batch_of(trace, 0).x))
    method.to(torch.float64 if float64 else torch.float32)
    for theirs, ours in names.networks.items():
        getattr(method, ours).load_state_dict(trace.below(f"init/{theirs}/"), strict=True)
    update = updater(about, method)
    gradients, codes = seen_gradients(method, update), seen_codes(method)

    for step in range(about["steps"]):
        update.set_rate(rate(about, step))
        method.train()
        feed_noise(method, trace, step)
        sheet = method.step(batch_of(trace, step), update)
        sheet |= dict(zip(("mu", "logvar", "mu2"), codes, strict=False))
        codes.clear()
        compare_losses(about, names, step, update.terms, differences, float64)
        for player, group in update.optimizers.items():
            recorded = about["per_step"][step]["lr"][player]
            differences.note("lr_abs", abs(group.param_groups[0]["lr"] - recorded), f"step {step}, {player}")
        if not float64:
            compare_pictures(trace, names, step, sheet, differences)
        if step == 0 and not float64:
            compare_gradients(trace, names, gradients, differences)
    compare_final(trace, names, method, differences, float64)
    return differences


def seen_gradients(method: Method, update: Updater) -> dict[str, Tensor]:
    """Filled with every parameter's gradient as the optimizers see it, the first time they step."""
    named = {p: name for name, p in method.named_parameters()}
    seen: dict[str, Tensor] = {}

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                seen.setdefault(named[p], p.grad.detach().clone())

    for optimizer in update.optimizers.values():
        optimizer.register_step_pre_hook(look)
    return seen


def feed_noise(method: Method, trace: Trace, step: int) -> None:
    """Where the step draws codes, let it draw the recorded ones: first that of the encoded half, then the random one."""
    recorded = trace.below(f"noise/{step}/")
    if recorded:
        draws = iter([recorded["eps"], recorded["z"]])
        method.noise = lambda x: next(draws)  # type: ignore[assignment]


def seen_codes(method: Method) -> list[Tensor]:
    """What the encoder of BicycleGAN answers from now on: mean and log variance of each pass."""
    seen: list[Tensor] = []
    if hasattr(method, "noise"):
        method.E.register_forward_hook(lambda module, inputs, code: seen.extend(code))  # type: ignore[operator, union-attr]
    return seen


def compare_losses(
    about: dict[str, Any], names: Names, step: int, terms: dict[str, Tensor], differences: Differences, float64: bool
) -> None:
    source = about["float64"]["losses"][step] if float64 else about["per_step"][step]
    for name, ref in {**source["reported"], **source["extra"]}.items():
        if name not in names.losses:
            differences.unknown[name] = None
            continue
        new = float(names.losses[name](terms))
        if float64:
            differences.note("loss_abs", abs(new - ref), f"step {step}, {name}")
        else:
            differences.note("loss_rel", relative(new, ref), f"step {step}, {name}")


def compare_pictures(trace: Trace, names: Names, step: int, sheet: Sheet, differences: Differences) -> None:
    for name, ref in trace.below(f"output/{step}/").items():
        if names.pictures.get(name) not in sheet:
            differences.unknown[name] = None
            continue
        new = sheet[names.pictures[name]]
        differences.note("output_abs", (new - ref).abs().max().item(), f"step {step}, {name}")


def compare_gradients(trace: Trace, names: Names, gradients: dict[str, Tensor], differences: Differences) -> None:
    for place, ref in trace.below("grad/0/").items():
        network, _, key = place.partition("/")
        new = gradients[f"{names.networks[network]}.{key}"]
        differences.note("grad0_rel_l2", share(new - ref, ref), place)


def compare_final(trace: Trace, names: Names, method: Method, differences: Differences, float64: bool) -> None:
    """The share of the training that went wrong, per tensor and without the elements that influence nothing."""
    free = trace.below("free/")
    for place, ref in trace.below("final/").items():
        network, _, key = place.partition("/")
        new = getattr(method, names.networks[network]).state_dict()[key]
        start = trace.tensors[f"init/{place}"]
        if new.is_floating_point() and float64:
            expected = trace.about["float64"]["final"][place]
            if place not in free or not free[place].all():  # else nothing but rounding dust moved it
                moved = (new - start).norm().item()
                differences.note("update_rel", abs(moved - expected["update_l2"]) / max(expected["update_l2"], 1e-12), place)
            differences.note("sum_abs", abs(new.sum().item() - expected["sum"]), place)
        elif new.is_floating_point():
            kept = ~free[place].bool() if place in free else torch.ones_like(ref, dtype=torch.bool)
            differences.note("final_rel_update", share((new - ref)[kept], (ref - start)[kept]), place)
        else:
            differences.note("counters", float((new - ref).abs().max()), place)


def replay_forward(folder: Path, float64: bool = False) -> bool:
    """Replay single passes through the networks that exist here; the others are named."""
    dtype = torch.float64 if float64 else torch.float32
    trace = Trace(folder, dtype)
    good, compared, absent = True, 0, []
    for name, case in trace.about["cases"].items():
        network = network_of(case["network"])
        if network is None:
            absent.append(name)
            continue
        network.to(dtype).load_state_dict(trace.below(f"init/{name}/"), strict=True)
        network.train(case["mode"] == "train")
        with torch.no_grad():
            answer = answers(network(*(trace.tensors[f"input/{name}/{i}"] for i in case["inputs"])))
        worst = max((answer[o] - trace.tensors[f"output/{name}/{o}"]).abs().max().item() for o in case["outputs"])
        for key, ref in trace.below(f"after/{name}/").items():
            worst = max(worst, (network.state_dict()[key] - ref).abs().max().item())
        within = worst <= case["suggested_tolerance_abs"]
        good, compared = good and within, compared + 1
        print(f"{'ok  ' if within else 'FAIL'} {name:<24} {worst:.3g} (allowed {case['suggested_tolerance_abs']:.3g})")
    if absent:
        print(f"not compared, since i2i has no such network yet: {', '.join(absent)}")
    good &= compared > 0
    print(
        f"{trace.about['name']}: {'within' if good else 'OUTSIDE'} tolerance, {compared} networks compared, {len(absent)} not"
    )
    return good


def answers(answer: Any) -> dict[str, Tensor]:
    """What a network answers, under every name that a trace may have for it."""
    if isinstance(answer, Tensor):
        return {"y": answer}
    if isinstance(answer[0], Tensor):
        return {str(i): t for i, t in enumerate(answer)}
    logits = {str(scale): maps[-1] for scale, maps in enumerate(answer)}
    return {"y": answer[0][-1], **logits, **{f"{k}.{n}": t for k, maps in enumerate(answer) for n, t in enumerate(maps)}}


def network_of(about: dict[str, Any]) -> torch.nn.Module | None:
    if about["kind"] in ("U-Net", "ResNet") and not about.get("dropout"):
        network = Generator(**generator_of(about)).build(about["input_nc"], about["output_nc"], Initial())
        for layer in network.modules():  # a recorded pass in eval mode uses running statistics
            layer.use_image_statistics = False  # type: ignore[assignment]
        return network
    if about["kind"] in ("PatchGAN", "1x1 pixel discriminator") and about.get("padding", 1) == 1:
        return Discriminator(**discriminator_of(about)).build(about["input_nc"], Initial())
    build = OTHERS.get(about["kind"])
    return build(about) if build else None


class OverInstances(FeatureEncoder):
    """The encoder with the mean over each thing, which the original has in one module."""

    def __init__(self, about: dict[str, Any]):
        sizes = {"width": about["nef"], "halvings": about["n_downsample"], "norm": about["norm"]}
        super().__init__(about["input_nc"], about["output_nc"], **sizes)

    def forward(self, x: Tensor, instances: Tensor) -> Tensor:
        return instance_mean(super().forward(x), instances)


OTHERS: dict[str, Callable[[dict[str, Any]], torch.nn.Module]] = {
    "U-Net with z": lambda n: LatentUNet(n["input_nc"], n["output_nc"], z=n["nz"], **latent_unet_of(n)),
    "residual encoder with two heads (mean, log variance)": lambda n: ResidualEncoder(
        n["input_nc"], n["nz"], blocks=n["n_blocks"], width=n["nef"], norm=n["norm"]
    ),
    "multi-scale PatchGAN": lambda n: HalvingPatchGAN(n["input_nc"], **halving_patchgan_of(n)),
    "pix2pixHD global generator": lambda n: GlobalGenerator(n["input_nc"], n["output_nc"], **coarse_to_fine_of(n)),
    "pix2pixHD local generator": lambda n: LocalEnhancer(n["input_nc"], n["output_nc"], **coarse_to_fine_of(n)),
    "multi-scale PatchGAN with intermediate maps": lambda n: MultiScalePatchGAN(n["input_nc"], **multi_scale_patchgan_of(n)),
    "instance feature encoder": OverInstances,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--float64", action="store_true", help="compare with the sharp double-precision record")
    arguments = parser.parse_args()
    if not (arguments.folder / "trace.json").is_file():
        parser.error(f"there is no trace in '{arguments.folder}'")
    forward = json.loads((arguments.folder / "trace.json").read_text())["format"].startswith("golden-forward")
    try:
        good = (replay_forward if forward else replay)(arguments.folder, arguments.float64)
    except CannotReplay as error:
        print(f"{arguments.folder.name}: not replayed: {error}")
        sys.exit(2)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
