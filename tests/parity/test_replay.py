"""Our steps compute what the original implementations computed, and the replay notices when they do not."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler

from i2i.losses.matching import l1
from i2i.methods.bicyclegan import BicycleGAN
from i2i.methods.cyclegan import CycleGAN
from i2i.methods.pix2pix import Pix2Pix
from i2i.methods.pix2pixhd import Pix2PixHD
from i2i.networks.layers import InstanceNorm2d, initialise
from i2i.networks.patchgan import PatchGAN, PixelGAN
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet

HERE = Path(__file__).parent
TRACES = HERE / "traces"
TRAINING = [
    "pix2pix_vanilla_batchnorm",
    "pix2pix_lsgan_instance_btoa",
    "cyclegan_lsgan_identity",
    "pix2pixhd_global_labels",
    "pix2pixhd_global_rgb",
    "bicyclegan_default",
    "bicyclegan_default_warm",
]

spec = importlib.util.spec_from_file_location("replay", HERE / "replay.py")
assert spec
assert spec.loader
replay = importlib.util.module_from_spec(spec)
sys.modules["replay"] = replay
spec.loader.exec_module(replay)


# The recorded traces


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("name", TRAINING)
def test_a_recorded_training_is_repeated(name, float64, capsys) -> None:
    good = replay.replay(TRACES / name, float64)
    assert good, capsys.readouterr().out


@pytest.mark.parametrize("float64", [False, True])
def test_recorded_passes_through_single_networks_are_repeated(float64, capsys) -> None:
    good = replay.replay_forward(TRACES / "forward_basic", float64)
    assert good, capsys.readouterr().out


def test_the_command_says_in_its_last_line_and_status_how_it_went() -> None:
    trace = TRACES / "pix2pix_lsgan_instance_btoa"
    done = subprocess.run([sys.executable, HERE / "replay.py", trace], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "pix2pix_lsgan_instance_btoa in float32: within tolerance, 92 comparisons"


def test_the_command_fails_where_numbers_differ_or_cannot_be_compared(tmp_path, monkeypatch, capsys) -> None:
    def command(*arguments: object) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["replay.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            replay.main()
        return ended.value.code, (capsys.readouterr().out.splitlines() or [""])[-1]

    trace = TRACES / "pix2pix_lsgan_instance_btoa"
    assert command(TRACES / "forward_basic") == (0, "forward_basic: within tolerance, 14 networks compared, 0 not")
    assert command(tmp_path) == (2, "")

    about = json.loads((trace / "trace.json").read_text())
    about["options"]["lambda_L1"] *= 1.02
    status, last = command(copied(trace, tmp_path / "wrong", about), "--float64")
    assert status == 1
    assert last.startswith("wrong in float64: OUTSIDE tolerance")

    about["method"] = "bigan"
    assert command(copied(trace, tmp_path / "other", about)) == (2, "other: not replayed: i2i has no method 'bigan' yet")


def copied(trace: Path, folder: Path, about: dict[str, Any]) -> Path:
    """The trace with another description."""
    folder.mkdir()
    (folder / "trace.json").write_text(json.dumps(about))
    (folder / "trace.safetensors").symlink_to(trace / "trace.safetensors")
    return folder


# The replay can fail


def wrong_rate(patch) -> None:
    change_optimizers(patch, lambda update: update.rates.update({name: 1.01 * rate for name, rate in update.rates.items()}))


def wrong_eps(patch) -> None:
    def change(update) -> None:
        for optimizer in update.optimizers.values():
            optimizer.param_groups[0]["eps"] = 1e-6

    change_optimizers(patch, change)


def change_optimizers(patch, change) -> None:
    original = replay.updater

    def changed(about, method):
        update = original(about, method)
        change(update)
        return update

    patch.setattr(replay, "updater", changed)


def wrong_norm(patch) -> None:
    patch.setattr(InstanceNorm2d, "forward", lambda self, x: torch.group_norm(x, x.shape[1], eps=1e-6))
    original = replay.build

    def changed(about):
        method = original(about)
        for layer in method.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 1e-6
        return method

    patch.setattr(replay, "build", changed)


def wrong_weight(patch) -> None:
    original = replay.settings_of

    def changed(about):
        settings = original(about)
        return settings | {
            name: 1.02 * settings[name]
            for name in ("lambda_l1", "lambda_cycle_x", "lambda_cycle_y", "lambda_feat")
            if name in settings
        }

    patch.setattr(replay, "settings_of", changed)


def wrong_order(patch) -> None:
    patch.setattr(Pix2Pix, "step", generator_first)
    patch.setattr(CycleGAN, "step", discriminators_first)
    patch.setattr(Pix2PixHD, "step", discriminator_first)
    patch.setattr(BicycleGAN, "step", both_discriminators_first)


def generator_first(self, batch, update):
    x, y = batch.x, batch.y
    fake = self.G(x)
    real_pair, fake_pair = torch.cat([x, y], 1), torch.cat([x, fake], 1)
    update("G", gan=self.game.generator(*self.game.look(self.D, fake_pair, real_pair)), l1=self.config.lambda_l1 * l1(fake, y))
    update("D", **self.game.discriminator(self.D, real_pair, fake_pair))
    return {"input": x, "output": fake, "target": y}


CYCLEGAN_STEP, PIX2PIXHD_STEP, BICYCLEGAN_STEP = CycleGAN.step, Pix2PixHD.step, BicycleGAN.step


def discriminators_first(self, batch, update):
    """The usual step, but its two updates take effect in the other order."""
    x, y = batch.x, batch.y
    with torch.no_grad():
        fake_y, fake_x = self.G(x), self.F(y)
    judged = {"x": self.game.discriminator(self.D_X, x, fake_x), "y": self.game.discriminator(self.D_Y, y, fake_y)}
    update("D", **{f"{name}_{side}": loss for side, terms in judged.items() for name, loss in terms.items()})
    return CYCLEGAN_STEP(self, batch, generators_alone(update))


def both_discriminators_first(self, batch, update):
    """The usual step twice with the same codes: the discriminators alone learn from the first, the others from the second."""
    codes = [self.noise(batch.x), self.noise(batch.x)]
    for side in "DG":
        again = iter(codes)
        self.noise = lambda x, again=again: next(again)
        sheet = BICYCLEGAN_STEP(
            self, batch, lambda *players, side=side, **losses: update(*players, **losses) if players[0][0] == side else None
        )
    return sheet


def discriminator_first(self, batch, update):
    seen = self._seen(batch.x, batch.instances)
    with torch.no_grad():
        fake_pair = torch.cat([seen, self.G(seen)], 1)
    update("D", **self.game.discriminator(self.D, torch.cat([seen, batch.y], 1), fake_pair))
    return PIX2PIXHD_STEP(self, batch, generators_alone(update))


def generators_alone(update):
    def call(*players, **losses):
        if "G" in players:
            update(*players, **losses)

    call.step, call.epoch = update.step, update.epoch
    return call


@pytest.mark.parametrize("mistake", [wrong_rate, wrong_eps, wrong_norm, wrong_weight, wrong_order])
@pytest.mark.parametrize("name", TRAINING)
def test_a_small_mistake_is_noticed(name, mistake, monkeypatch) -> None:
    mistake(monkeypatch)
    outside = set(replay.replayed(TRACES / name).outside()) - {"lr_abs"}
    assert outside


# Other options of the originals: recorded here with plain PyTorch code, so that every path of the replay is taken

GAN_LOSS = {
    "vanilla": lambda y, real: functional.binary_cross_entropy_with_logits(y, torch.full_like(y, float(real))),
    "lsgan": lambda y, real: functional.mse_loss(y, torch.full_like(y, float(real))),
    "wgangp": lambda y, real: -y.mean() if real else y.mean(),
}


def gan_loss(mode: str) -> Any:
    """Of what a discriminator answers, the logits of its only scale."""
    return lambda maps, real: GAN_LOSS[mode](maps[0][-1], real)


def network(about: dict[str, Any]) -> nn.Module:
    channels, norm = about["input_nc"], about["norm"]
    if about["kind"] == "U-Net":
        return UNet(channels, about["output_nc"], depth=about["num_downs"], width=about["ngf"], norm=norm)
    if about["kind"] == "ResNet":
        return ResNet(channels, about["output_nc"], blocks=about["n_blocks"], width=about["ngf"], norm=norm)
    if about["kind"] == "PatchGAN":
        return PatchGAN(channels, layers=about["n_layers"], width=about["ndf"], norm=norm)
    return PixelGAN(channels, width=about["ndf"], norm=norm)


def record(folder: Path, about: dict[str, Any], *, batch: int = 1, steps: int = 5) -> Path:
    """Write a trace of the originals' training step in float64: freeze, backward, one Adam a side, a scheduler."""
    torch.manual_seed(0)
    options = about["options"]
    nets = {name: network(n) for name, n in about["networks"].items()}
    for net in nets.values():
        initialise(net, gain=0.1)
        net.double()
    tensors = {f"init/{n}/{k}": t.clone() for n, net in nets.items() for k, t in net.state_dict().items()}
    sides = {side: [net for name, net in nets.items() if name.startswith(side)] for side in "GD"}
    optimizers = {
        side: torch.optim.Adam([p for n in members for p in n.parameters()], lr=options["lr"], betas=(options["beta1"], 0.999))
        for side, members in sides.items()
    }
    schedulers = [scheduler(o, options) for o in optimizers.values()]

    def learn(side: str, *losses: Tensor) -> None:
        optimizers[side].zero_grad()
        sum(losses[1:], losses[0]).backward()
        optimizers[side].step()

    per_step, sharp = [], []
    for step in range(steps):
        channels = options["input_nc"], options["output_nc"]
        a, b = (torch.rand(batch, c, 16, 16).double() * 2 - 1 for c in channels)
        back = options["direction"] == "BtoA"
        tensors[f"batch/{step}/A"], tensors[f"batch/{step}/B"] = (b, a) if back else (a, b)
        rates = {side: o.param_groups[0]["lr"] for side, o in optimizers.items()}
        losses, pictures = (original_pix2pix if about["method"] == "pix2pix" else original_cyclegan)(nets, options, a, b, learn)
        values = {name: float(torch.as_tensor(loss).detach()) for name, loss in losses.items()}
        per_step.append({"step": step, "reported": values, "extra": {}, "lr": rates})
        sharp.append({"step": step, "reported": values, "extra": {}})
        tensors |= {f"output/{step}/{name}": t.detach().clone() for name, t in pictures.items()}
        if (step + 1) % about.get("steps_per_epoch", 10**9) == 0:
            for s in schedulers:
                s.step()

    final = {}
    for n, net in nets.items():
        for k, t in net.state_dict().items():
            tensors[f"final/{n}/{k}"] = t
            if t.is_floating_point():
                final[f"{n}/{k}"] = {"sum": t.sum().item(), "update_l2": (t - tensors[f"init/{n}/{k}"]).norm().item()}
    tolerance = {"loss_rel": 1e-4, "output_abs": 1e-4, "grad0_rel_l2": 1e-4, "final_rel_update": 0.02}
    adam = {"kind": "Adam", "lr": options["lr"], "betas": [options["beta1"], 0.999], "eps": 1e-8, "weight_decay": 0}
    about |= {"name": folder.name, "steps": steps, "per_step": per_step, "float64": {"losses": sharp, "final": final}}
    about |= {"format": "golden-trace 1", "suggested_tolerance": tolerance, "optimizers": {"G": adam, "D": adam}}
    folder.mkdir()
    (folder / "trace.json").write_text(json.dumps(about))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "trace.safetensors")
    return folder


def scheduler(optimizer: torch.optim.Optimizer, options: dict[str, Any]) -> Any:
    constant, decay, first = options["n_epochs"], options["n_epochs_decay"], options["epoch_count"]
    return {
        "linear": lambda: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - max(0, epoch + first - constant) / (decay + 1)),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, constant),
        "step": lambda: lr_scheduler.StepLR(optimizer, options.get("lr_decay_iters", 50), 0.1),
    }[options["lr_policy"]]()


def original_pix2pix(nets, options, a, b, learn):
    gan, D = gan_loss(options["gan_mode"]), nets["D"]
    fake = nets["G"](a)
    D.requires_grad_(True)
    d_fake = gan(D(torch.cat([a, fake], 1).detach()), False)
    d_real = gan(D(torch.cat([a, b], 1)), True)
    learn("D", 0.5 * (d_fake + d_real))
    D.requires_grad_(False)
    losses = {"G_GAN": gan(D(torch.cat([a, fake], 1)), True), "G_L1": options["lambda_L1"] * (fake - b).abs().mean()}
    learn("G", *losses.values())
    return losses | {"D_real": d_real, "D_fake": d_fake}, {"fake_B": fake}


def original_cyclegan(nets, options, a, b, learn):
    gan, weight_a, weight_b, idt = gan_loss(options["gan_mode"]), *(options[f"lambda_{k}"] for k in ("A", "B", "identity"))
    G_A, G_B, D_A, D_B = (nets[n] for n in ("G_A", "G_B", "D_A", "D_B"))
    pictures = {"fake_B": G_A(a)}
    pictures["rec_A"] = G_B(pictures["fake_B"])
    pictures["fake_A"] = G_B(b)
    pictures["rec_B"] = G_A(pictures["fake_A"])
    losses: dict[str, Any] = {"idt_A": 0.0, "idt_B": 0.0}
    for D in (D_A, D_B):
        D.requires_grad_(False)
    if idt:
        pictures |= {"idt_A": G_A(b), "idt_B": G_B(a)}
        losses["idt_A"] = weight_b * idt * (pictures["idt_A"] - b).abs().mean()
        losses["idt_B"] = weight_a * idt * (pictures["idt_B"] - a).abs().mean()
    losses["G_A"], losses["G_B"] = gan(D_A(pictures["fake_B"]), True), gan(D_B(pictures["fake_A"]), True)
    losses["cycle_A"] = weight_a * (pictures["rec_A"] - a).abs().mean()
    losses["cycle_B"] = weight_b * (pictures["rec_B"] - b).abs().mean()
    learn("G", *(loss for loss in losses.values() if isinstance(loss, Tensor)))
    for name, D, real, fake in (("D_A", D_A, b, pictures["fake_B"]), ("D_B", D_B, a, pictures["fake_A"])):
        D.requires_grad_(True)
        losses[name] = 0.5 * (gan(D(real), True) + gan(D(fake.detach()), False))
    learn("D", losses["D_A"], losses["D_B"])
    return losses, pictures


def described(method: str, generator: dict[str, Any], discriminator: dict[str, Any], **options: Any) -> dict[str, Any]:
    steps_per_epoch = options.pop("steps_per_epoch", None)
    options = {
        **{"input_nc": 3, "output_nc": 3, "direction": "AtoB", "lr": 2e-4, "beta1": 0.5, "pool_size": 0, "lr_policy": "linear"},
        **{"n_epochs": 100, "n_epochs_decay": 100, "epoch_count": 1, "lambda_L1": 100.0, "lambda_A": 10.0, "lambda_B": 10.0},
        **{"lambda_identity": 0.0, "gan_mode": "lsgan"},
        **options,
    }
    a, b = options["input_nc"], options["output_nc"]
    generator = {"ngf": 4, "norm": "batch", "dropout": False, **generator}
    discriminator = {"ndf": 4, "norm": "batch", **discriminator}
    if method == "pix2pix":
        networks = {"G": {**generator, "input_nc": a, "output_nc": b}, "D": {**discriminator, "input_nc": a + b}}
    else:
        networks = {
            "G_A": {**generator, "input_nc": a, "output_nc": b},
            "G_B": {**generator, "input_nc": b, "output_nc": a},
            "D_A": {**discriminator, "input_nc": b},
            "D_B": {**discriminator, "input_nc": a},
        }
    about = {"method": method, "networks": networks, "options": options}
    return about | ({"steps_per_epoch": steps_per_epoch} if steps_per_epoch else {})


RESNET, UNET = {"kind": "ResNet", "n_blocks": 1, "n_downsampling": 2}, {"kind": "U-Net", "num_downs": 4}
PATCH, PIXEL = {"kind": "PatchGAN", "n_layers": 1, "padding": 1}, {"kind": "1x1 pixel discriminator"}
LINEAR = {"steps_per_epoch": 2, "n_epochs": 2, "n_epochs_decay": 2}

OTHERS = {
    "pix2pix, ResNet, Wasserstein without penalty": described("pix2pix", RESNET, PATCH, gan_mode="wgangp"),
    "pix2pix, no norm, two layers": described("pix2pix", {**UNET, "norm": "none"}, {**PATCH, "n_layers": 2, "norm": "none"}),
    "pix2pix, pixels, grey to colour, rising cosine": described(
        "pix2pix", UNET, PIXEL, input_nc=1, lr_policy="cosine", steps_per_epoch=1, n_epochs=3, epoch_count=2
    ),
    "pix2pix, B to A, other channels, decay": described("pix2pix", UNET, PATCH, input_nc=2, direction="BtoA", **LINEAR),
    "pix2pix, later first epoch, other Adam": described("pix2pix", UNET, PATCH, epoch_count=3, lr=1e-3, beta1=0.9, **LINEAR),
    "cyclegan, batch norm, B to A, unlike weights": described(
        "cyclegan", RESNET, PATCH, lambda_identity=0.3, lambda_A=8.0, lambda_B=5.0, direction="BtoA", gan_mode="vanilla"
    ),
    "cyclegan, Wasserstein, other channels, no identity, stairs, unfilled history": described(
        "cyclegan",
        RESNET,
        PATCH,
        input_nc=1,
        gan_mode="wgangp",
        lr_policy="step",
        lr_decay_iters=2,
        steps_per_epoch=1,
        pool_size=50,
    ),
    "cyclegan, U-Net, pixels, decay": described("cyclegan", UNET, PIXEL, lambda_identity=0.5, **LINEAR),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_options_of_the_originals_are_repeated_exactly(name, tmp_path) -> None:
    folder = record(tmp_path / "trace", OTHERS[name] | {}, batch=2)
    differences = replay.replayed(folder, float64=True)
    assert differences.compared > 50
    assert not differences.outside(), differences.worst
    assert not differences.unknown
    assert not {"loss_rel", "output_abs", "counters"} & set(replay.replayed(folder).outside())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gan_mode": "hinge2"}, "no GAN loss"),
        ({"lr_policy": "plateau"}, "no schedule 'plateau'"),
        ({"pool_size": 3}, "a history of 3 images is full before the last step"),
    ],
)
def test_what_a_trace_does_not_hold_is_said(change, reason, tmp_path) -> None:
    folder = record(tmp_path / "trace", described("cyclegan", RESNET, PATCH), steps=4)
    about = json.loads((folder / "trace.json").read_text())
    about["options"] |= change
    with pytest.raises(replay.CannotReplay, match=reason):
        replay.replayed(copied(folder, tmp_path / "changed", about))
