"""Health: each ailment is seen in a run that has it, made sick on purpose, and in no healthy one."""

import math
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import kills
import pytest
import torch
from torch import nn

from i2i import models, runs
from i2i.config import Tree, completed, from_assignments
from i2i.data import scenes
from i2i.data.samples import PairedSamples
from i2i.losses.matching import l1
from i2i.method import Method
from i2i.methods import METHODS
from i2i.training import folder, health
from i2i.training.health import HALVED, Ailment, examine
from i2i.training.update import Updater

Rows = list[dict[str, Any]]


def settings(method: str = "pix2pix", *changes: str) -> Tree:
    return models.configure(method, [from_assignments(list(changes))]).tree()


def lines(count: int = 50, *, steps: int = 2000, every: int = 20, **values: float) -> Rows:
    """Lines of training: a number for each step, or one for all; names with __ for /."""
    named = {name.replace("__", "/"): value for name, value in values.items()}
    where = ({**at(every * i, steps), "epoch": every * i / 100, "seconds": float(i)} for i in range(1, count + 1))
    return [{**here, "lr/G": 2e-4, "lr/D": 2e-4, **named} for here in where]


def at(step: int, steps: int) -> dict[str, float]:
    """Where a line stands, in a run of one stage."""
    return {"step": step, "steps": steps, "from": 0, "until": steps, "epoch": 1}


def validations(*probes: dict[str, float], steps: int = 2000, every: int = 500) -> Rows:
    """Lines of training that say nothing, and a validation every 500 steps."""
    rows = lines(every * len(probes) // 20, steps=steps)
    for number, probe in enumerate(probes, start=1):
        rows.append({**at(every * number, steps), **{f"probe/{name}": v for name, v in probe.items()}})
    return sorted(rows, key=lambda row: row["step"])


def names(found: Iterable[Ailment]) -> set[str]:
    return {ailment.name for ailment in found}


def played(real: float, fake: float, *, kind: str = "vanilla", method: str = "pix2pix", **gan: Any) -> set[str]:
    """What ails a run in which D pays this."""
    changed = [f"model.gan.kind={kind}", *(f"model.gan.{name}={value}" for name, value in gan.items())]
    return names(examine(lines(G__gan=1.0, D__real=real, D__fake=fake), settings(method, *changed)))


# Who wins


@pytest.mark.parametrize(
    ("kind", "method", "guess"),
    [
        ("vanilla", "pix2pix", math.log(2)),
        ("lsgan", "pix2pix", 0.25),
        ("hinge", "pix2pix", 1.0),
        ("lsgan", "pix2pixhd", 0.5),  # two scales, halved
        ("lsgan", "bicyclegan", 1.0),  # two scales
    ],
)
def test_a_discriminator_has_won_where_it_pays_next_to_nothing_and_lost_where_it_guesses(kind, method, guess) -> None:
    ailments = {
        share: played(share * guess / 2, share * guess / 2, kind=kind, method=method) for share in (0.04, 0.1, 0.9, 1, 1.3)
    }
    assert ailments == {0.04: {"D has won"}, 0.1: set(), 0.9: set(), 1: {"D has lost"}, 1.3: {"D has lost"}}


def test_what_a_guess_costs_follows_from_labels_and_from_relativism() -> None:
    assert played(0.5, 0.5, kind="lsgan", relativistic="true") == {"D has lost"}  # labels of 1 and -1
    assert played(0.5, 0.4, kind="lsgan", relativistic="true") == set()
    smooth = 0.5 * (-0.9 * math.log(0.9) - 0.1 * math.log(0.1))  # what the best D pays for real images, halved
    assert played(smooth, 0.001, real_label=0.9) == {"D has won"}
    assert played(smooth, 0.1, real_label=0.9) == set()
    assert played(0.5 * 0.45**2, 0.5 * 0.45**2, kind="lsgan", real_label=0.9) == {"D has lost"}


def test_a_critic_has_no_scale_and_a_run_may_have_no_discriminator() -> None:
    assert played(0.0, 0.0, kind="wgan-gp") == set()
    assert examine(lines(G__l1=1.0), settings("pix2pix", "model.gan=null")) == []
    assert examine(lines(G__l1=1.0), settings("crn")) == []


def test_each_discriminator_is_judged_on_its_own() -> None:
    rows = lines(G__gan_x=1.0, D__real_x=0.001, D__fake_x=0.001, D__real_y=0.1, D__fake_y=0.1)
    (ailment,) = examine(rows, settings("cyclegan"))
    assert ailment.name == "D has won"
    assert "D/real_x + D/fake_x is 0.8% of what a guess would cost, since step" in ailment.evidence
    assert ailment.remedy.startswith("--set train.player_lr.D=0.0001 or --set model.gan.augment=translation")
    rows = lines(G__gan=1.0, D__real=0.4, D__fake=0.4, D2__real=0.5, D2__fake=0.5)
    assert names(examine(rows, settings("bicyclegan"))) == {"D2 has lost"}


def test_a_moment_is_no_victory_nor_is_the_warm_up() -> None:
    rows = lines(G__gan=1.0, D__real=0.001, D__fake=0.001)
    assert not examine(rows[:15], settings())
    for row in rows[-10:]:
        row["D/real"] = 0.2
    assert not examine(rows, settings())
    alone = lines(D__real=0.0, D__fake=0.0)  # SimGAN's D without R
    assert not examine(alone, settings("simgan"))


def test_a_discriminator_that_goes_up_and_down_about_a_guess_has_not_lost() -> None:
    rows = lines(G__gan=1.0, D__real=0.38, D__fake=0.38)
    for row in rows[::3]:
        row["D/real"] = 0.3
    assert not examine(rows, settings())


def test_which_methods_halve_is_as_they_say(tiny) -> None:
    halved = {name for name in METHODS if getattr(getattr(tiny(name), "game", None), "share", 1) == 0.5}
    assert halved == HALVED


# Learning and waiting


def test_a_player_without_a_learning_rate_stands_still() -> None:
    (ailment,) = examine([row | {"lr/D": 0.0} for row in lines(30)], settings("pix2pix", "train.schedule=cosine"))
    assert ailment == ("D stands still", "lr/D is 0 at step 600 of 2000", "--set train.schedule=constant instead of cosine")
    (ailment,) = examine([row | {"lr/D": 1e-12} for row in lines(30)], settings("pix2pix", "train.player_lr.D=1e-12"))
    assert ailment.remedy == "--set train.player_lr.D=0.0002"
    assert not examine([row | {"lr/D": 1e-7} for row in lines(30)], settings())
    rows = lines(100)
    rows[-1]["lr/D"] = 0.0
    assert not examine(rows, settings())  # a cosine has come to its end


@pytest.mark.parametrize(("share", "said"), [(0.5, {"the data is slower than the network"}), (0.3, set())])
def test_a_loader_that_keeps_the_network_waiting(share, said) -> None:
    rows = [row | {"waited": share * row["seconds"]} for row in lines(30)]
    assert names(examine(rows, settings())) == said


def test_the_loader_may_take_its_time_in_the_first_epoch() -> None:
    rows = [row | {"waited": row["seconds"], "epoch": row["epoch"] / 100} for row in lines(30)]
    assert not examine(rows, settings())


# Outputs

HEALTHY = {
    **{"spread": 0.2, "spread-real": 0.25, "saturated": 0.02, "saturated-real": 0.01, "checkerboard": 0.03},
    **{"checkerboard-real": 0.03, "styles": 0.03, "correlation-input": 0.6, "correlation-mean": 0.9},
    **{"moved": 0.3, "reworked": 0.15},
}
PAIRED = {**HEALTHY, "correlation-target": 0.9, "reworked-target": 0.2}


@pytest.mark.parametrize(
    ("name", "sick", "well"),
    [
        ("outputs hardly depend on the input", {"spread": 0.02}, {"spread": 0.03}),
        ("outputs hardly depend on the style", {"styles": 0.007}, {"styles": 0.009}),
        ("outputs are inverted", {"correlation-target": -0.6}, {"correlation-target": -0.3, "correlation-input": -0.9}),
        ("outputs are saturated", {"saturated": 0.32}, {"saturated": 0.3}),
        ("outputs show checkerboards", {"checkerboard": 0.07}, {"checkerboard": 0.05}),
        ("outputs are copies of the inputs", {"reworked": 0.03}, {"reworked": 0.05}),
    ],
)
def test_what_ails_outputs_of_pairs(name, sick, well) -> None:
    sick_rows, healthy_rows = (validations(*3 * [PAIRED | values]) for values in (sick, well))
    assert names(examine(sick_rows, settings())) == {name}
    assert not examine(healthy_rows, settings())


@pytest.mark.parametrize(
    ("sick", "well"),
    [
        ({"correlation-input": -0.6, "correlation-mean": 0.2}, {"correlation-input": -0.6, "correlation-mean": 0.6}),
        ({"reworked": 0.009}, {"reworked": 0.011}),
    ],
)
@pytest.mark.parametrize("method", ["cyclegan", "simgan"])
def test_what_ails_outputs_without_targets(sick, well, method) -> None:
    assert len(examine(validations(HEALTHY | sick, HEALTHY | sick, steps=3000, every=1500), settings(method))) == 1
    assert not examine(validations(HEALTHY | well, HEALTHY | well, steps=3000, every=1500), settings(method))


def test_two_validations_in_a_row_must_agree_or_the_only_one_of_a_run_that_is_over() -> None:
    sick = PAIRED | {"spread": 0.0}
    assert not examine(validations(sick, PAIRED), settings())
    assert not examine(validations(PAIRED, sick), settings())
    assert not examine(validations(sick), settings())
    assert names(examine(validations(sick, steps=500), settings())) == {"outputs hardly depend on the input"}


def test_an_early_validation_does_not_count() -> None:
    sick = PAIRED | {"spread": 0.0}
    assert not examine(validations(sick, sick, steps=20_000), settings())
    assert not examine(validations(HEALTHY | {"reworked": 0.0}, HEALTHY | {"reworked": 0.0}), settings("simgan"))  # R alone


def test_checkerboards_may_fade_until_half_of_the_run_is_over() -> None:
    sick = PAIRED | {"checkerboard": 0.1}
    assert not examine(validations(sick, sick, steps=2200), settings())
    assert len(examine(validations(sick, sick, sick, steps=2000), settings())) == 1


def test_the_end_of_a_stage_is_the_end_of_its_schedule() -> None:
    cosine = settings("pix2pix", "train.schedule=cosine")
    rows = [row | {"from": 1000, "until": 2000, "lr/G": 1e-10, "lr/D": 1e-10} for row in lines(100, steps=3000)]
    assert not examine([row for row in rows if row["step"] > 1980], cosine)
    assert names(examine(rows, cosine)) == {"G stands still", "D stands still"}


def test_of_a_run_in_stages_the_last_one_is_examined_under_its_own_settings() -> None:
    sick = [row | {"until": 1000, "lr/G": 0.0} for row in lines(40)]
    well = [row | {"step": row["step"] + 1000, "from": 1000} for row in lines(40)]
    staged = settings() | {"stages": {"a": {}, "b": {"train": {"player_lr": {"G": 1e-12}}}}}
    assert not health.of_run([*sick, *well], staged)
    (ailment,) = health.of_run([*sick, *(row | {"lr/G": 1e-12} for row in well)], staged)
    assert ailment.remedy == "--set train.player_lr.G=0.0002"


def test_settings_that_say_nothing_of_the_model_leave_what_can_be_said_without_them() -> None:
    sick = {"spread": 0.0, "correlation-target": -1.0, "saturated": 1.0, "checkerboard": 1.0, "styles": 0.0}
    rows = validations(*3 * [PAIRED | sick])
    assert len(health.of_run(rows, completed({"method": "pix2pix"}))) == 5


def test_a_pattern_is_compared_with_that_of_real_images_or_not_at_all() -> None:
    of_outputs_alone = {name: value for name, value in PAIRED.items() if name != "checkerboard-real"} | {"checkerboard": 1.0}
    assert not examine(validations(*3 * [of_outputs_alone]), settings())


def test_nothing_can_be_said_without_lines() -> None:
    assert examine([], settings()) == []
    assert examine([at(5, 10) | {"seconds": 1}], settings()) == []


@pytest.mark.parametrize("method", METHODS)
def test_every_remedy_is_a_setting_of_the_method(method) -> None:
    sick = {"spread": 0.0, "correlation-target": -1.0, "saturated": 1.0, "checkerboard": 1.0}
    sick |= {} if method in ("cyclegan", "simgan") else {"styles": 0.0}
    rows = validations(*3 * [PAIRED | sick], *3 * [PAIRED | {"reworked": 0.0}], steps=3000)
    for row in rows:
        if "lr/G" in row:
            row |= {"D/real": 0.0, "D/fake": 0.0, "G/gan": 1.0, "lr/G": 0.0, "waited": row["seconds"]}
        else:
            row |= {"train/l1": 1.0, "val/l1": 20.0 + row["step"]}
    half = [row for row in rows if row["step"] <= 1500]
    found = [*examine(half, settings(method)), *examine(rows, settings(method))]
    remedies = [setting for ailment in found for setting in re.findall(r"--set ([\w.]+=[^\s,]+)", ailment.remedy)]
    assert len(found) > 5
    assert len(remedies) > 5
    for remedy in remedies:
        settings(method, remedy)


# New images


def gap(*pairs: tuple[float, float], metric: str = "l1") -> list[Ailment]:
    """Of (error on known images, error on new ones), one validation after another."""
    rows = validations(*[{}] * len(pairs), steps=len(pairs) * 500)
    measured = [
        {**at(500 * i, 500 * len(pairs)), f"train/{metric}": known, f"val/{metric}": new}
        for i, (known, new) in enumerate(pairs, start=1)
    ]
    return examine([*rows, *measured], settings("pix2pix", "data.flip=false"))


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("l1", [(20, 25), (12, 26), (8, 27)]),
        ("psnr", [(20, 19), (23, 18), (26, 18)]),
        ("ssim", [(0.6, 0.5), (0.8, 0.4), (0.9, 0.4)]),
    ],
)
def test_images_learned_by_heart(metric, values) -> None:
    (ailment,) = gap(*values, metric=metric)
    assert ailment.name == "training images are learned by heart"
    assert ailment.evidence.endswith("on new ones at step 500")
    assert ailment.remedy.startswith("--set data.flip=true, --set model.gan.augment=translation")


@pytest.mark.parametrize(
    "values",
    [[(20, 25), (15, 24), (12, 23)], [(20, 25), (19, 26), (19, 27)], [(8, 25), (8, 27)]],
    ids=["better", "near", "few"],
)
def test_a_gap_alone_is_not_enough_nor_is_a_bad_turn(values) -> None:
    assert not gap(*values)


# Runs that were made sick, and healthy ones

LAYOUT = {"pix2pix": "paired", "bicyclegan": "paired", "pix2pixhd": "labels", "crn": "labels", "cyclegan": "unpaired"}
Interfere = Callable[[Method], None]


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory) -> Callable[[str], Path]:
    """`small_scenes("pix2pix")`: two dozen scenes of 18 pixels in the layout that suits the method."""
    folder = tmp_path_factory.mktemp("scenes")

    def made(method: str) -> Path:
        layout = LAYOUT.get(method, "simreal")
        if not (folder / layout).exists():
            scenes.make(folder / layout, layout, 24, 18)
        return folder / layout

    return made


@pytest.fixture
def examined(new_run, trainer_of, watch, small_scenes) -> Callable[..., list[Ailment]]:
    """`examined("pix2pix", "train.lr=1e-3", interfere=...)`: what ails a short run of a tiny method.

    `interfere` may change the method before each look at its outputs.
    """

    def examine_run(method: str, *changes: str, interfere: Interfere | None = None, steps: int = 0) -> list[Ailment]:
        steps = steps or (60 if interfere else 250)  # losses take longer to judge than outputs
        usual = ["train.log_every=10", "train.save_every=1000", "train.samples=0", "train.ema=0", "train.validate_every=20"]
        held_out = ["data.hold_back=2"] if method == "simgan" else []  # the other scenes have some
        usual += [f"train.metrics={kills.SEEN[kills.KIND[method]]}", *held_out]
        run = new_run(method, method, *usual, *changes, steps=steps, data=small_scenes(method))

        def before_a_look(done: int) -> None:
            if interfere and done % 20 == 0:
                interfere(trainer.method)

        trainer = trainer_of(run, watcher=watch(before_a_look))
        trainer.run()
        return examine(folder.log(run), runs.saved_config(run).tree())

    return examine_run


def last_layer(network: nn.Module) -> nn.Module:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)][-1]


@pytest.mark.parametrize("method", METHODS)
def test_a_healthy_run_is_healthy(examined, method) -> None:
    assert examined(method) == []


def test_a_discriminator_without_an_opponent_wins(examined) -> None:
    found = examined("pix2pix", "train.player_lr={D: 1e-2, G: 1e-9}")
    assert names(found) == {"D has won", "G stands still"}


@pytest.mark.parametrize("kind", ["lsgan", "hinge"])
def test_a_discriminator_that_does_not_learn_loses(examined, kind) -> None:
    assert names(examined("pix2pix", f"model.gan={kind}", "train.player_lr.D=1e-9")) == {"D has lost", "D stands still"}


def test_a_loader_that_takes_longer_than_a_step_keeps_the_network_waiting(examined, monkeypatch) -> None:
    at_once = PairedSamples.__getitem__
    monkeypatch.setattr(PairedSamples, "__getitem__", lambda self, number: time.sleep(0.05) or at_once(self, number))
    monkeypatch.setattr("i2i.training.health.STEPS", 20)
    slow = ["data.workers=0", "data.cache_gb=0", "train.log_every=2", "train.validate_every=1000"]
    assert "the data is slower than the network" in names(examined("pix2pix", *slow, steps=60))


def test_a_generator_that_ignores_its_input_has_collapsed(examined) -> None:
    def ignore(method: Method) -> None:
        nn.init.zeros_(last_layer(method.G).weight)

    assert names(examined("pix2pix", interfere=ignore)) == {"outputs hardly depend on the input"}


def test_a_generator_that_ignores_z_has_collapsed_too(examined) -> None:
    def ignore(method: Method) -> None:
        forward = type(method.G).forward
        method.G.forward = lambda x, z: forward(method.G, x, 0 * z)

    assert "outputs hardly depend on the style" in names(examined("bicyclegan", interfere=ignore))


def test_colours_can_be_inverted(examined) -> None:
    def invert(method: Method) -> None:
        method.translate = lambda x, **_: -x + 0.02 * x.flip(3)

    assert "outputs are inverted" in names(examined("cyclegan", interfere=invert))


def test_outputs_can_be_saturated(examined) -> None:
    def saturate(method: Method) -> None:
        with torch.no_grad():
            last_layer(method.G).weight.mul_(100)

    assert "outputs are saturated" in names(examined("pix2pix", interfere=saturate))


def test_a_transposed_convolution_can_leave_a_checkerboard(examined) -> None:
    def uneven(method: Method) -> None:
        with torch.no_grad():  # of a kernel of 4 with stride 2 each output sees every second row and column
            last_layer(method.G).weight[..., ::2, ::2] *= 10

    small = ["model.generator.kind=unet", "model.generator.depth=3"]
    (ailment,) = [one for one in examined("pix2pix", *small, interfere=uneven) if "checkerboards" in one.name]
    assert ailment.remedy == "--set model.generator.upsample=resize for a new run"


def test_a_refiner_that_is_held_too_tightly_does_nothing(examined) -> None:
    held = ["model.refiner.residual=true", "model.lambda_reg=1000"]
    (ailment,) = examined("simgan", *held)  # once, though training and validations both show it
    assert ailment.name == "the refiner does nothing"
    assert ailment.remedy == "--set model.lambda_reg=250, which is 1000"


def test_a_refiner_that_only_darkens_does_nothing(examined) -> None:
    def darken(method: Method) -> None:
        nn.init.constant_(method.R.last.bias, -20.0)  # R(x) = clip(x - 1)

    found = examined("simgan", "model.refiner.residual=true", interfere=darken)
    assert "the refiner does nothing" in names(found)


@pytest.mark.parametrize(("images", "said"), [(2, {"training images are learned by heart"}), (0, set())])
def test_few_images_are_learned_by_heart(tiny, pair, images, said) -> None:
    """Targets are noise, so that nothing can be learned of new ones. Without training images every batch is new."""
    method = tiny("pix2pix", gan=None, generator={"width": 16, "dropout": False, "norm": "instance"})
    update, rows = Updater(method, lr=2e-3), validations(*[{}] * 5, steps=250, every=50)
    for step in range(250):
        known = pair(batch=2, seed=10 if images else 100 + step)
        method.train().step(known, update)
        if step % 50 == 49:
            new = pair(batch=2, seed=11)
            values = {f"{name}/l1": l1(method.translate(b.x), b.y).item() for name, b in (("train", known), ("val", new))}
            rows.append(at(step + 1, 250) | values)
    assert names(examine(rows, settings())) == said
