"""What ails a run: read off its log and its settings alone, so that whoever looks at any time finds the same."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from i2i.config import Config, Tree, completed, merged
from i2i.training.best import best_of

Row = Mapping[str, Any]

EARLY = 0.1
"""The share of a run in which nothing is said of it: hardly anything looks healthy that has just begun."""
STEPS, SHARE, LINES = 200, 0.05, 10
"""Losses of a GAN go up and down: so many steps, such a share of the run and so many lines count, the longest of all."""
WON, FOOLED, BLIND = 0.05, 1.2, 0.02
"""Of what a guess would cost D. Healthy runs lie between 0.15 and 1.05 in the median and go up and down by more than 0.1. A D
that never learns stays between 1 and 1.05 and moves by less than 0.01, but for lsgan: there it pays twice a guess or more."""
STILL = 1e-8
"""A learning rate with which Adam moves no weight, usually about 0.02, by a tenth within 100,000 steps."""
LAST_STEPS = 0.98
"""The share of a run from where a cosine may have come down to nothing."""
WAITING = 0.4
"""Of the time. With threads that read ahead the loader then takes 1.7 times as long as the network, and without them 0.7."""
READ_AGAIN = 2000
"""From this step on time counts even in the first epoch, in which images are decoded that memory then keeps."""
COLLAPSED = 0.1
"""How far outputs differ from one another, as a share of what real images do: 0.75 and more on scenes, a blur too."""
ONE_LEVEL = 1 / 127.5
"""Of 8 bits: a smaller difference cannot be seen, nor can it be written to most files."""
INVERTED = -0.5
"""Correlation of brightness; untrained networks come to ±0.2 on scenes."""
LIKE_REAL = 0.5
"""The same of mean images: sides that are opposites by nature, such as T1 and T2, then still come out as they should."""
BLOWN = 0.3
"""How many more values than in real images lie at an end of the range."""
PATTERN, PATTERNED, FADED = 0.03, 2.0, 0.5
"""An amplitude of four 8-bit levels, and twice that of real images, when half of the run is over: networks begin with up to
four times as much, which fades to 0.7 to 1.6 on scenes."""
COPIES = 0.01
"""Of values from -1 to 1: about one 8-bit level."""
LITTLE = 0.2
"""The same as a share of how far targets are from inputs."""
GAP = 1.5
"""How much larger an error may be on new images: half as large again, or 3.5 dB."""
HALVED = {"pix2pix", "pix2pixhd", "cyclegan"}
"""Methods whose D pays half, as published."""


class Ailment(NamedTuple):
    """What is wrong, the numbers that say so, and what to do."""

    name: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.remedy}"


def examine(rows: Sequence[Row], config: Config) -> list[Ailment]:
    """What ails a run now. `rows` are the lines of its log, or of one stage of it; `config` is that of the stage."""
    rows = [row for row in rows if {"steps", "epoch"} <= row.keys()]  # a log may have been put together by hand
    if not rows:
        return []
    begins = _begins(rows, config)
    lines = [row for row in rows if row["step"] > begins and any(name.startswith("lr/") for name in row)]
    return [*_of_training(lines, config), *_of_outputs(_validations(rows, begins), config), *_gap(rows, begins, config)]


def of_run(rows: Sequence[Row], saved: Tree) -> list[Ailment]:
    """What ails a run, by all lines of its log and its saved settings as plain values; of one in stages, the stage it is in."""
    first, number = 0, 0
    for i, (row, after) in enumerate(pairwise(rows), 1):
        if after.get("epoch", 0) < row.get("epoch", 0):  # each stage counts its own
            first, number = i, number + 1
    stages = list((saved.get("stages") or {}).values()) or [{}]
    config: Any = _Settings(merged(completed(saved), stages[min(number, len(stages) - 1)]))
    return examine(rows[first:], config)


class _Settings(dict):
    """Plain values that read like a `Config`, for which torch would have to be imported."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        value = self[name]
        return _Settings(value) if isinstance(value, dict) else value


def _begins(rows: Sequence[Row], config: Config) -> float:
    """The step until which nothing is said: warm-ups, and the beginning of what comes after them."""
    warm_up = sum(getattr(config.model, name, 0) for name in ("refiner_first", "discriminator_first"))
    first = rows[0]["step"] + warm_up
    return first + EARLY * max(0, rows[-1]["steps"] - first)


# Lines of training


def _of_training(lines: Sequence[Row], config: Config) -> Iterator[Ailment]:
    yield from _discriminator(lines, config)
    yield from _copies(lines, config)
    yield from _still(lines, config)
    yield from _waits(lines, config)


def _recent(lines: Sequence[Row]) -> Sequence[Row]:
    """The last lines, as many as it takes not to be noise; none where there are fewer."""
    if len(lines) < LINES:
        return []
    since = lines[-1]["step"] - max(STEPS, SHARE * lines[-1]["steps"])
    first = min(len(lines) - LINES, next(i for i, row in enumerate(lines) if row["step"] >= since))
    return lines[first:] if lines[0]["step"] <= since else []


def _discriminator(lines: Sequence[Row], config: Config) -> Iterator[Ailment]:
    model: Any = config.model
    bounds = _bounds(getattr(model, "gan", None))
    playing = _recent([row for row in lines if any("/gan" in name for name in row)])
    if not playing or not bounds:
        return
    share = (0.5 if config.method in HALVED else 1) * getattr(model.discriminator, "scales", 1)
    right, guess = bounds
    for name in sorted({name for row in playing for name in row if re.match(r"D\w*/real", name)}):
        player, fake = name.partition("/")[0], name.replace("/real", "/fake")
        paid = [(row[name] + row[fake]) / share for row in playing if name in row]
        levels = [(each - right) / (guess - right) for each in paid]
        level, blind = median(levels), min(levels) > 1 - BLIND and max(levels) - min(levels) < BLIND
        said = f"{name} + {fake} is {level:.1%} of what a guess would cost, since step {playing[0]['step']}"
        if level < WON:
            yield Ailment(f"{player} has won", f"{said}, so that little is learned from it", _weaker(player, config))
        if level > FOOLED or blind:
            yield Ailment(
                f"{player} has lost", f"{said}: if you can tell outputs from real ones, it should", _stronger(player, config)
            )


def _bounds(gan: Any) -> tuple[float, float] | None:
    """What D pays for a real and a fake image together: where it is always right, and where it can only guess.

    None without a game, and for the critic of wgan-gp, whose values have no scale to go by.
    """
    if gan is None or gan.kind == "wgan-gp":
        return None
    label = gan.real_label
    if gan.kind == "vanilla":
        return _entropy(label), 2 * math.log(2) if gan.relativistic else 2 * _entropy(label / 2)
    if gan.kind == "lsgan":
        return 0, label**2 + 1 if gan.relativistic else label**2 / 2
    return 0, 2


def _entropy(p: float) -> float:
    return 0.0 if p == 1 else -p * math.log(p) - (1 - p) * math.log(1 - p)


def _weaker(player: str, config: Config) -> str:
    model: Any = config.model
    changed = "" if model.gan.augment else " or --set model.gan.augment=translation"
    return f"--set train.player_lr.{player}={_rate(player, config) / 2:g}{changed} or --set model.gan.r1=10"


def _stronger(player: str, config: Config) -> str:
    return (
        f"--set train.player_lr.{player}={max(2 * _rate(player, config), config.train.lr):g}, or a larger model.discriminator"
    )


def _rate(player: str, config: Config) -> float:
    return config.train.player_lr.get(player, config.train.lr)


def _copies(lines: Sequence[Row], config: Config) -> Iterator[Ailment]:
    playing = _recent([row for row in lines if "R/gan" in row and "R/moved" in row])
    if playing and all(row["R/moved"] < COPIES for row in playing):
        most = max(row["R/moved"] for row in playing)
        evidence = f"R/moved, the mean of |R(x) - x|, was at most {most:.2g} since step {playing[0]['step']}"
        yield Ailment("the refiner does nothing", evidence, _bolder(config))


def _still(lines: Sequence[Row], config: Config) -> Iterator[Ailment]:
    lines = [row for row in lines if row["step"] <= LAST_STEPS * row["steps"]]
    for name, rate in lines[-1].items() if lines else ():
        if name.startswith("lr/") and rate < STILL:
            player, schedule = name.removeprefix("lr/"), config.train.schedule
            low = _rate(player, config) < STILL
            remedy = f"train.player_lr.{player}=0.0002" if low else f"train.schedule=constant instead of {schedule}"
            evidence = f"{name} is {rate:.2g} at step {lines[-1]['step']} of {lines[-1]['steps']}"
            yield Ailment(f"{player} stands still", evidence, f"--set {remedy}")


def _waits(lines: Sequence[Row], config: Config) -> Iterator[Ailment]:
    timed = _recent([row for row in lines if "waited" in row and (row["epoch"] >= 1 or row["step"] >= READ_AGAIN)])
    if not timed:
        return
    took, waited = (timed[-1][name] - timed[0][name] for name in ("seconds", "waited"))
    if took and waited > WAITING * took:
        workers = 2 * (config.data.workers or 2)
        evidence = f"since step {timed[0]['step']} {waited / took:.0%} of the time went into waiting for images"
        kept = f"--set data.workers={workers}, --set data.cache_gb=8 to keep them decoded"
        yield Ailment("the data is slower than the network", evidence, f"{kept}, or store them at about data.load_size")


# Validations


def _validations(rows: Sequence[Row], begins: float) -> Sequence[Row]:
    """The last two, so that one chance is not enough; of a run that is over the last one may be alone."""
    found = [row for row in rows if row["step"] > begins and any(name.startswith("probe/") for name in row)][-2:]
    return found if len(found) == 2 or (found and found[0]["step"] == found[0]["steps"]) else []


def _of_outputs(validations: Sequence[Row], config: Config) -> Iterator[Ailment]:
    """What the last validations agree on."""
    for judge in (_collapsed, _styles_alike, _inverted, _saturated, _checkerboard, _nothing_done):
        found = [judge({name.removeprefix("probe/"): v for name, v in row.items()}, config) for row in validations]
        if found and all(found) and found[-1]:
            yield found[-1]


def _collapsed(probe: Row, config: Config) -> Ailment | None:
    if "spread" not in probe or probe["spread"] >= COLLAPSED * probe["spread-real"]:
        return None
    evidence = f"they differ from one another by {probe['spread']:.2g}, and real images by {probe['spread-real']:.2g}"
    return Ailment(
        "outputs hardly depend on the input", evidence, f"{_more_matching(config)}, or start again with another --seed"
    )


def _more_matching(config: Config) -> str:
    """What ties outputs closer to what they should show."""
    name = next(name for name in ("lambda_l1", "lambda_cycle_x", "lambda_reg") if hasattr(config.model, name))
    return f"--set model.{name}={2 * getattr(config.model, name) or 10:g}"


def _styles_alike(probe: Row, config: Config) -> Ailment | None:
    if probe.get("styles", 1) >= ONE_LEVEL:
        return None
    remedy = {
        "crn": "fewer model.images, since those that are never the best hardly learn",
        "pix2pixhd": "train longer, or --set model.lambda_l1=0 where it is on",
    }.get(config.method, "--set model.mode_seeking.weight=1")
    evidence = f"two outputs of one input differ by {probe['styles']:.2g}, less than one 8-bit level ({ONE_LEVEL:.2g})"
    return Ailment("outputs hardly depend on the style", evidence, remedy)


def _inverted(probe: Row, config: Config) -> Ailment | None:
    """Without targets a person may want opposites: only where the mean output is unlike the mean real image too."""
    side = "target" if "correlation-target" in probe else "input"
    value = probe.get(f"correlation-{side}", 1)
    if value > INVERTED or (side == "input" and probe.get("correlation-mean", 0) > LIKE_REAL):
        return None
    evidence = f"their brightness has a correlation of {value:.2f} with that of {side}s"
    weight = getattr(config.model, "lambda_identity", None)
    remedy = _more_matching(config) if weight is None else f"--set model.lambda_identity={2 * weight or 0.5:g}"
    return Ailment("outputs are inverted", evidence, f"{remedy}, or start again with another --seed")


def _saturated(probe: Row, config: Config) -> Ailment | None:
    if probe.get("saturated", 0) < probe.get("saturated-real", 0) + BLOWN:
        return None
    evidence = (
        f"{probe['saturated']:.0%} of their values lie at an end of the range, and {probe['saturated-real']:.0%} of real ones"
    )
    return Ailment("outputs are saturated", evidence, f"--set train.lr={config.train.lr / 2:g}, or --set train.clip=10")


def _checkerboard(probe: Row, config: Config) -> Ailment | None:
    least = max(PATTERN, PATTERNED * probe.get("checkerboard-real", 0))
    if probe["step"] < FADED * probe["steps"] or probe.get("checkerboard", 0) < least:
        return None
    generator = getattr(config.model, "generator", None)
    resize = getattr(generator, "upsample", "resize") != "resize"
    remedy = "--set model.generator.upsample=resize for a new run" if resize else f"--set train.lr={config.train.lr / 2:g}"
    amplitude, real = probe["checkerboard"], probe["checkerboard-real"]
    evidence = f"what repeats every 2 or 4 pixels has an amplitude of {amplitude:.2g}, and {real:.2g} in real images"
    return Ailment("outputs show checkerboards", evidence, remedy)


def _nothing_done(probe: Row, config: Config) -> Ailment | None:
    """Nothing but a change of brightness and contrast is nothing: R(x) = x - 1 is where refiners end that have given up."""
    if not {"reworked", "spread"} <= probe.keys() or _collapsed(probe, config):
        return None
    least = LITTLE * probe["reworked-target"] if "reworked-target" in probe else COPIES
    if probe["reworked"] >= least:
        return None
    more = f", {probe['reworked-target']:.2g} in targets" if "reworked-target" in probe else ""
    same = f"{probe['reworked']:.2g} from the same with another brightness and contrast"
    evidence = f"they are {probe['moved']:.2g} from the inputs, and {same}{more}"
    who = "the refiner does nothing" if config.method == "simgan" else "outputs are copies of the inputs"
    return Ailment(who, evidence, _bolder(config))


def _bolder(config: Config) -> str:
    """Less of what holds outputs where inputs are."""
    weights = {name: getattr(config.model, name, 0) for name in ("lambda_reg", "lambda_identity", "lambda_l1")}
    name = next((name for name, weight in weights.items() if weight), None)
    return (
        f"--set model.{name}={weights[name] / 4:g}, which is {weights[name]:g}" if name else "start again with another --seed"
    )


# Known images and new ones

ERRORS = {"l1": lambda v: v, "psnr": lambda v: 10 ** (-v / 20), "ssim": lambda v: 1 - v}
"""From a metric of pairs to how wrong they are."""


def _gap(rows: Sequence[Row], begins: float, config: Config) -> Iterator[Ailment]:
    """Where new images fare much worse than known ones, and the last two validations are worse than one before."""
    for metric, error in ERRORS.items():
        measured = [row for row in rows if row["step"] > begins and {f"train/{metric}", f"val/{metric}"} <= row.keys()]
        if len(measured) < 3:
            continue
        top, last = best_of(measured, metric), measured[-1]
        ratios = [error(row[f"val/{metric}"]) / max(error(row[f"train/{metric}"]), 1e-6) for row in measured[-2:]]
        if top and top[0] < measured[-2]["step"] and min(ratios) > GAP:
            evidence = (
                f"{metric} is {last[f'val/{metric}']:.3g} on new images and {last[f'train/{metric}']:.3g} on known ones, "
                f"and was {top[1]:.3g} on new ones at step {top[0]}"
            )
            yield Ailment("training images are learned by heart", evidence, _more_variety(config))
        return


def _more_variety(config: Config) -> str:
    model: Any = config.model
    ways = [] if config.data.flip else ["--set data.flip=true"]
    if getattr(model, "gan", None) and not model.gan.augment:
        ways.append("--set model.gan.augment=translation")
    return ", ".join([*ways, "more images, or --set train.patience=5 to end here: the best checkpoint is kept"])
