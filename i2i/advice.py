"""From what a data set is to a method and its settings, each with the reason for it."""

import math
from dataclasses import dataclass
from typing import Any

from i2i.config import DataSettings, dump_value, flat, preset, spelled
from i2i.data.facts import Facts, Side
from i2i.errors import counted
from i2i.models import configure

FEW, MOST_OUTPUTS = 100, 1.2
"""Below so many images a discriminator learns them by heart; with so many outputs of an input one is not the answer."""
LIKE_STRANGERS, ENOUGH = 0.6, 12
"""Partners that are more alike than others so rarely are none, where there are enough to tell."""
SKETCHY = 0.6
"""A side with so much less detail than the other one is the drawing of it."""
FAR = 0.15
"""Mean brightness of a channel, as a share of its range: sides that differ by more differ in their colours."""
LEAST_STEPS, MOST_SEEN = 2000, 250_000
"""Shorter runs show little; the published ones of the largest sets see each image less often: 1334 zebras 200 times."""
MOST_EPOCHS = 200
"""As both papers have them."""
LEAST, LEAST_OF = 32, {"bicyclegan": 64}
SCALE = 286 / 256
"""Loading size to crop, as published."""
LADDER: dict[str, tuple[str | None, ...]] = {
    "pix2pix": (None, "small", "quick"),
    "pix2pixhd": ("512", "small", "quick"),
    "cyclegan": (None, "small", "quick"),
    "bicyclegan": (None, "small", "quick"),
    "simgan": ("small", "quick"),
    "crn": ("256", "small", "quick"),
}
"""The presets of each method from large networks to small ones; None: the paper's defaults."""
FOR_GPUS = {("pix2pixhd", "512"), ("crn", "256")}
PERCEPTUAL = ("pix2pixhd", "crn")

NARROW = "narrower, so that a step takes less time and memory"
FEWER = "fewer, for small images"
REASONS = {
    "generator.width": NARROW,
    "discriminator.width": NARROW,
    "encoder.width": NARROW,
    "refiner.width": NARROW,
    "model.width": NARROW,
    "generator.blocks": FEWER,
    "generator.halvings": FEWER,
    "encoder.halvings": FEWER,
    "refiner.kernel": "strokes and edges can become wider",
    "refiner_first": "how long R learns to copy first",
    "discriminator_first": "how long D learns alone",
    "lambda_reg": "how near R stays to its input",
    "lambda_kl": "of a sum over half a batch, here of two pairs",
    "k_g": "R and D take turns",
    "model.history": "less memory",
    "train.batch": "small images leave room for more, and steps become steadier",
    "train.ema": "translates with the mean of the last weights, which is steadier",
    "train.lr": "small networks can learn faster",
    "player_lr.D": "D learns faster than R",
    "sample_every": "a look now and then, in a run that is short",
    "save_every": "a checkpoint now and then, in a run that is short",
    "log_every": "a line now and then, in a run that is short",
    "flip": "mirrored scenes are scenes too",
    "resize": "images keep their shape",
    "checkpointing": "less memory for more time",
    "model.images": "so many images of a layout, as published",
    "lambda_perceptual": "without the term that needs VGG-19",
    "lambda_l1": "something to learn from without VGG-19",
}
"""Why presets set what they set, by how the key ends."""


@dataclass(frozen=True)
class Choice:
    value: Any
    reason: str


Choices = dict[str, Choice]
"""Settings by dotted key that differ from the defaults."""


@dataclass(frozen=True)
class Rung:
    """One way to train, but for its length."""

    name: str
    choices: Choices
    size: str
    gpu: bool
    epochs: float | None
    """What the recipe trains for; else it counts `steps`."""
    steps: int | None
    batch: int


# The method


def method_for(facts: Facts) -> tuple[str, str]:
    """The method that suits the data, and why."""
    if facts.synthetic:
        return "simgan", "the folders are called synthetic and real: a refiner makes the one look like the other, in place"
    if facts.kind == "unpaired":
        return "cyclegan", "two sets of images without pairs"
    if unlike(facts) and facts.layout == "two-folders":
        return "cyclegan", f"names stand on both sides, but {likeness(facts)}: these are no pairs"
    if facts.labels:
        return "pix2pixhd", "label maps" + (" with instances" if facts.instances else "") + " and photos"
    if facts.outputs >= MOST_OUTPUTS:
        return "bicyclegan", f"pairs in which an input has {facts.outputs:.1f} different outputs on average"
    how = {"side-by-side": "each file holds both sides", "manifest": "as listed"}.get(facts.layout, "names stand on both sides")
    known = f"; {likeness(facts)}" if facts.alike is not None and facts.pairs >= ENOUGH else ""
    return "pix2pix", f"pairs: {how}{known}"


def unlike(facts: Facts) -> bool:
    """Whether what is called pairs, by names alone, seems to be none."""
    return facts.pairs >= ENOUGH and facts.alike is not None and facts.alike < LIKE_STRANGERS


def likeness(facts: Facts) -> str:
    return f"partners are more alike than strangers in {facts.alike:.0%} of cases, where chance has 50%"


def others(facts: Facts, method: str, weights: bool) -> list[str]:
    """What else could be tried, and when."""
    said = []
    if method == "pix2pixhd" and facts.labels:
        here = "are here" if weights else "are not here"
        said.append(f"crn trains without a discriminator, which is steadier; it needs the weights of VGG-19, which {here}")
    if method == "pix2pix":
        a, b = facts.a.detail or 0, facts.b.detail or 0
        open_ = f": one side leaves open much of what the other shows (detail {min(a, b):.0%} and {max(a, b):.0%})"
        drawn = open_ if min(a, b) < SKETCHY * max(a, b) else ", where more than one is right"
        said.append(f"bicyclegan makes several outputs of an input{drawn}")
        if min(facts.a.shorter, facts.b.shorter) >= 512:
            said.append("pix2pixhd is made for images as large as these")
    if method == "simgan":
        said.append("cyclegan may change shapes as well, and then annotations do not hold")
    if method == "cyclegan" and unlike(facts):
        said.append("pix2pix, if they are pairs after all: --method pix2pix")
    return said


# What the data asks for, whatever the networks


def direction_for(facts: Facts, method: str, usual: str | None) -> Choice | None:
    """Which side is the input, where it is B. `usual` is what is known about a set that has a name."""
    if facts.labels or method in ("cyclegan", "simgan"):
        return None
    if usual in ("AtoB", "BtoA"):
        return Choice("BtoA", "the usual way for this set") if usual == "BtoA" else None
    if facts.a.ids != facts.b.ids:
        return Choice("BtoA", "B holds ids of classes, which are what one starts from") if facts.b.ids else None
    if facts.a.detail and facts.b.detail is not None and facts.b.detail < SKETCHY * facts.a.detail:
        less = f"{facts.b.detail:.0%} of B's pixels differ from their neighbour, and {facts.a.detail:.0%} of A's"
        return Choice("BtoA", f"B is a drawing beside A: {less}; AtoB goes the other way")
    return None


def for_data(facts: Facts, method: str, direction: str, *, perceptual: str) -> Choices:
    """`perceptual` says why there can be no perceptual terms; "" where there can."""
    x, y = (facts.b, facts.a) if direction == "BtoA" else (facts.a, facts.b)
    chosen: Choices = {}
    if facts.labels and facts.layout != "labels":
        reason = f"grey files with values from {x.low:g} to {x.top:g}: the ids of classes"
        chosen["data.labels"] = Choice(True, reason)
    for name, side in (("x", x), ("y", y)):
        if side.full_scale and not (name == "x" and facts.labels):
            domain = {"channels": side.channels, "dtype": side.dtype, "high": side.full_scale}
            reason = f"no value is above {side.top:g}: taken as {side.dtype} in full, it would be nearly black"
            chosen[f"data.{name}"] = Choice(domain, reason)
    if method == "cyclegan" and x.channels != y.channels:
        reason = f"one side has {x.channels} channels and the other {y.channels}, so no image is its own translation"
        chosen["model.lambda_identity"] = Choice(0.0, reason)
    if method in PERCEPTUAL and perceptual:
        chosen["model.lambda_perceptual"] = Choice(0.0, perceptual)
        if method == "crn":
            chosen["model.lambda_l1"] = Choice(1.0, "so that there is something to learn from")
    if facts.fewest < FEW and method not in ("crn", "simgan"):
        chosen["model.gan.augment"] = _augmentation(facts, x, y)
    return chosen


def _augmentation(facts: Facts, x: Side, y: Side) -> Choice:
    few = f"{facts.fewest} {'pairs' if facts.kind == 'paired' else 'images on a side'}: D would soon know them by heart"
    if y.channels not in (1, 3):
        return Choice(["translation"], f"{few} (DiffAugment); colours are left alone, since {y.channels} channels are none")
    if facts.kind == "unpaired" and _colours_differ(x, y):
        return Choice(["translation"], f"{few} (DiffAugment); colours are left alone, since they tell the sides apart")
    return Choice(["color", "translation"], f"{few} (DiffAugment, Zhao et al. 2020)")


def _colours_differ(x: Side, y: Side) -> bool:
    return len(x.mean) != len(y.mean) or any(abs(a - b) > FAR for a, b in zip(x.mean, y.mean, strict=True))


# The ladder of networks


def rungs(facts: Facts, method: str, common: Choices) -> list[Rung]:
    """The ways to train, from the paper's networks to the smallest, each cut to the images."""
    return [_rung(facts, method, name, common) for name in LADDER[method]]


def _rung(facts: Facts, method: str, name: str | None, common: Choices) -> Rung:
    layers = [preset(method, name)] if name else []
    usual, config = flat(configure(method, []).tree()), configure(method, layers)
    about = f"preset '{name}'" if name else ""
    given = {key: value for key, value in flat(config.tree()).items() if name and config.sources.get(key) == about}
    chosen = {key: Choice(value, _from_preset(name, key, usual.get(key))) for key, value in given.items()}
    if name == "small" and method == "pix2pixhd" and "model.lambda_perceptual" not in common:
        del chosen["model.lambda_perceptual"]  # its weights are here, and a GPU to use them
    chosen |= _cut(facts, method, name, config.data, usual)
    for key in ("train.epochs", "train.steps"):
        chosen.pop(key, None)
    chosen |= common
    chosen = {key: choice for key, choice in chosen.items() if key not in usual or choice.value != usual[key]}
    size, batch = str(chosen["data.size"].value if "data.size" in chosen else usual["data.size"]), config.train.batch
    lean = configure(method, [preset(method, "small")]).train if name == "quick" else config.train
    counted = lean.steps if lean.steps is not None else None
    epochs = None if counted else lean.epochs
    return Rung(name or "paper", chosen, size, (method, name) in FOR_GPUS, epochs, counted, batch)


def _from_preset(name: str | None, key: str, usual: Any) -> str:
    """Why a preset has this value, and what it would be without."""
    why = next((reason for end, reason in REASONS.items() if key.endswith(end)), "")
    known = usual is not None and not isinstance(usual, dict | list)
    return "; ".join([*([why] if why else []), f"preset {name}" + (f", else {dump_value(usual)}" if known else "")])


def _cut(facts: Facts, method: str, name: str | None, data: DataSettings, usual: dict[str, Any]) -> Choices:
    """Sizes that suit the images, and what of the networks follows from these."""
    a, b = facts.a, facts.b
    shorter = min(a.shorter, b.shorter)
    seen = f"the shorter side of the images has {shorter} px"
    if method == "simgan":
        crop = max(16, min(64, round(0.7 * shorter)))
        why = f"{seen}; a D that saw whole images would learn where things lie, and smear them"
        return {"data.size": Choice(crop, why)}
    if name in ("512", "256"):
        return _whole(facts, method, int(name))
    crop = _crop(shorter, min(data.crop), LEAST_OF.get(method, LEAST))
    enlarged = f"; {shorter} px are enlarged a little" if crop > shorter else ""
    chosen = {"data.size": Choice(crop, f"crops; {seen}{enlarged}")}
    load = max(crop, min(*data.resized, round(shorter * SCALE)))
    if load != round(crop * SCALE):
        to_crop = "images at about their own size" if load >= shorter else f"images of {shorter} px made smaller"
        chosen["data.load_size"] = Choice(load, f"{to_crop}, of which crops of {crop} px are cut")
    elif data.load_size is not None:
        chosen["data.load_size"] = Choice(None, "as published, 286/256 of the crop")
    if data.resize == "square" and _keep_shape(facts):
        chosen["data.resize"] = Choice("shorter", f"images of {a.width}x{a.height} keep their shape")
    return chosen | _network(method, crop, usual)


def _network(method: str, crop: int, usual: dict[str, Any]) -> Choices:
    """What of the networks follows from the crop."""
    chosen: Choices = {}
    halvings = int(math.log2(crop))
    if method in ("pix2pix", "bicyclegan"):
        chosen["model.generator.depth"] = Choice(halvings, f"a U-Net that halves {crop} px down to one")
    if method == "bicyclegan":
        chosen["model.encoder.blocks"] = Choice(5 if crop >= 256 else 4, "5 for 256 px, 4 for fewer, as published")
    if method == "cyclegan" and crop < 256:
        blocks = 6 if crop >= 128 else 3
        chosen["model.generator.blocks"] = Choice(blocks, "the paper has 9 from 256 px on and 6 for 128")
    if method == "crn":
        chosen["model.modules"] = Choice(halvings - 1, f"each doubles the size, from 4 to {crop} px")
    if crop <= 64 and "model.discriminator.layers" in usual:
        chosen["model.discriminator.layers"] = Choice(2, f"patches of 34 px; those of 70 would see all of {crop}")
    return chosen


def _whole(facts: Facts, method: str, height: int) -> Choices:
    """Whole images of about this height and twice the width, as the large recipes of label maps have them."""
    b, stride = facts.b, 2 ** (int(math.log2(height)) - 2) if method == "crn" else 32
    scale = min(1.0, 2 * height / b.width, height / b.height) if method != "crn" else height / b.height
    size = spelled(tuple(max(stride, round(side * scale / stride) * stride) for side in (b.height, b.width)))
    why = f"whole images of {b.width}x{b.height}" + ("" if scale == 1 else ", resized")
    return {"data.size": Choice(size, why), "data.load_size": Choice(size, "nothing is cut off")}


def _crop(shorter: int, most: int, least: int) -> int:
    """The largest power of two that enlarges the images by a quarter at most."""
    return max(least, min(most, 1 << (int(shorter * 1.25).bit_length() - 1)))


def _keep_shape(facts: Facts) -> bool:
    """Whether squares would distort the images, and crops of two partners still match."""
    a, b = facts.a, facts.b
    match = facts.kind == "unpaired" or abs(math.log(a.shape / b.shape)) < 0.02
    return match and abs(math.log(a.shape)) > 0.1


# How long


@dataclass(frozen=True)
class Length:
    key: str
    choice: Choice
    steps: int
    wanted: int

    @property
    def enough(self) -> bool:
        """Whether it is at least half of what is wanted."""
        return 2 * self.steps >= self.wanted


def length_for(rung: Rung, facts: Facts, step: float, budget: float, words: str) -> Length:
    """As long as the recipe says, with bounds, and as the budget allows. `step`: seconds; `words`: the budget."""
    samples = facts.epoch
    wanted, why = rung.steps or round((rung.epochs or 0) * samples / rung.batch), "the recipe's own"
    if not rung.steps and wanted < LEAST_STEPS:
        wanted, why = (
            LEAST_STEPS,
            f"{counted(samples, 'image', 'needs')} more than the recipe's {rung.epochs:g} to make {LEAST_STEPS} steps",
        )
    if not rung.steps and wanted * rung.batch > MOST_SEEN:
        wanted, why = MOST_SEEN // rung.batch, f"{counted(samples, 'image', 'needs')} fewer than the recipe's {rung.epochs:g}"
    allowed = int(budget / max(step, 1e-9))
    steps = max(1, min(wanted, allowed))
    room = min(round(MOST_EPOCHS * samples / rung.batch), MOST_SEEN // rung.batch, allowed // 2)
    if not rung.steps and room > wanted:  # the networks are small, and time is left
        steps, why = room, f"more than the recipe's {rung.epochs:g}, since {words} have room"
    if steps < wanted:
        why = f"what {words} allow; the recipe has {rung.steps or f'{rung.epochs:g}'}"
    if rung.steps:
        return Length("train.steps", Choice(steps, why), steps, wanted)
    epochs = steps * rung.batch / samples
    rounded = math.ceil if steps == wanted else math.floor  # so that the budget is kept
    epochs = rounded(epochs) if epochs >= 10 else max(0.01, rounded(epochs * 100) / 100)
    steps = max(1, math.ceil(epochs * samples / rung.batch))
    return Length("train.epochs", Choice(epochs, f"{steps} steps: {why}"), steps, wanted)
