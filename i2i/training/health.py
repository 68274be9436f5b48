"""What ails a run: read off its log and its settings alone, so that whoever looks at any time finds the same."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from i2i.config import Tree, merged
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


def examine(rows: Sequence[Row], settings: Tree) -> list[Ailment]:
    """What ails a stage of a run now, each thing once: by the lines of its log and its settings as plain values.

    What the settings do not say, as those of an older version may, is left out of account.
    """
    rows = [row for row in rows if {"from", "until", "epoch"} <= row.keys()]  # a log may have been put together by hand
    if not rows:
        return []
    begins = _begins(rows[-1], settings)
    lines = [row for row in rows if row["step"] > begins and any(name.startswith("lr/") for name in row)]
    found: dict[str, Ailment] = {}
    for ailment in (
        *_of_training(lines, settings),
        *_of_outputs(_validations(rows, begins), settings),
        *_gap(rows, begins, settings),
    ):
        found.setdefault(ailment.name, ailment)
    return list(found.values())


def of_run(rows: Sequence[Row], settings: Tree) -> list[Ailment]:
    """What ails a run, by all lines of its log and its settings; of one in stages, the stage it is in."""
    firsts = list(dict.fromkeys(row["from"] for row in rows if "from" in row))
    if not firsts:
        return []
    stages = list((settings.get("stages") or {}).values()) or [{}]
    own = merged(settings, stages[min(len(firsts), len(stages)) - 1])
    return examine([row for row in rows if row.get("from") == firsts[-1]], own)


def _at(settings: Tree, key: str, default: Any = None) -> Any:
    """The value of a dotted key such as "model.gan.kind"; the default where it is null or missing."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return default if value is None else value


def _begins(row: Row, settings: Tree) -> float:
    """The step until which nothing is said: warm-ups, and the beginning of what comes after them."""
    first = row["from"] + sum(_at(settings, f"model.{name}", 0) for name in ("refiner_first", "discriminator_first"))
    return first + EARLY * max(0, row["until"] - first)


def _share_done(row: Row) -> float:
    """Of the stage."""
    return (row["step"] - row["from"]) / (row["until"] - row["from"])


# Lines of training


def _of_training(lines: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    yield from _discriminator(lines, settings)
    yield from _copies(lines, settings)
    yield from _still(lines, settings)
    yield from _waits(lines, settings)


def _recent(lines: Sequence[Row]) -> Sequence[Row]:
    """The last lines, as many as it takes not to be noise; none where there are fewer."""
    if len(lines) < LINES:
        return []
    since = lines[-1]["step"] - max(STEPS, SHARE * (lines[-1]["until"] - lines[-1]["from"]))
    first = min(len(lines) - LINES, next(i for i, row in enumerate(lines) if row["step"] >= since))
    return lines[first:] if lines[0]["step"] <= since else []


def _discriminator(lines: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    bounds = _bounds(_at(settings, "model.gan"))
    playing = _recent([row for row in lines if any("/gan" in name for name in row)])
    if not playing or not bounds:
        return
    share = (0.5 if settings["method"] in HALVED else 1) * _at(settings, "model.discriminator.scales", 1)
    right, guess = bounds
    for name in sorted({name for row in playing for name in row if re.match(r"D\w*/real", name)}):
        player, fake = name.partition("/")[0], name.replace("/real", "/fake")
        paid = [(row[name] + row[fake]) / share for row in playing if name in row]
        levels = [(each - right) / (guess - right) for each in paid]
        level, blind = median(levels), min(levels) > 1 - BLIND and max(levels) - min(levels) < BLIND
        said = f"{name} + {fake} is {level:.1%} of what a guess would cost, since step {playing[0]['step']}"
        if level < WON:
            yield Ailment(f"{player} has won", f"{said}, so that little is learned from it", _weaker(player, settings))
        if level > FOOLED or blind:
            yield Ailment(
                f"{player} has lost", f"{said}: if you can tell outputs from real ones, it should", _stronger(player, settings)
            )


def _bounds(gan: Any) -> tuple[float, float] | None:
    """What D pays for a real and a fake image together: where it is always right, and where it can only guess.

    None without a game, and for the critic of wgan-gp, whose values have no scale to go by.
    """
    label, relativistic = _at({"gan": gan}, "gan.real_label", 1.0), _at({"gan": gan}, "gan.relativistic", False)
    match _at({"gan": gan}, "gan.kind"):
        case "vanilla":
            return _entropy(label), 2 * math.log(2) if relativistic else 2 * _entropy(label / 2)
        case "lsgan":
            return 0, label**2 + 1 if relativistic else label**2 / 2
        case "hinge":
            return 0, 2
        case _:
            return None


def _entropy(p: float) -> float:
    return 0.0 if p == 1 else -p * math.log(p) - (1 - p) * math.log(1 - p)


def _weaker(player: str, settings: Tree) -> str:
    changed = "" if _at(settings, "model.gan.augment") else " or --set model.gan.augment=translation"
    return f"--set train.player_lr.{player}={_rate(player, settings) / 2:g}{changed} or --set model.gan.r1=10"


def _stronger(player: str, settings: Tree) -> str:
    rate = max(2 * _rate(player, settings), settings["train"]["lr"])
    return f"--set train.player_lr.{player}={rate:g}, or a larger model.discriminator"


def _rate(player: str, settings: Tree) -> float:
    return _at(settings, f"train.player_lr.{player}", settings["train"]["lr"])


def _copies(lines: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    playing = _recent([row for row in lines if "R/gan" in row and "R/moved" in row])
    if playing and all(row["R/moved"] < COPIES for row in playing):
        most = max(row["R/moved"] for row in playing)
        evidence = f"R/moved, the mean of |R(x) - x|, was at most {most:.2g} since step {playing[0]['step']}"
        yield Ailment("the refiner does nothing", evidence, _bolder(settings))


def _still(lines: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    lines = [row for row in lines if _share_done(row) <= LAST_STEPS]
    for name, rate in lines[-1].items() if lines else ():
        if name.startswith("lr/") and rate < STILL:
            player, schedule = name.removeprefix("lr/"), settings["train"]["schedule"]
            low = _rate(player, settings) < STILL
            remedy = f"train.player_lr.{player}=0.0002" if low else f"train.schedule=constant instead of {schedule}"
            evidence = f"{name} is {rate:.2g} at step {lines[-1]['step']} of {lines[-1]['until']}"
            yield Ailment(f"{player} stands still", evidence, f"--set {remedy}")


def _waits(lines: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    timed = _recent([row for row in lines if "waited" in row and (row["epoch"] >= 1 or row["step"] >= READ_AGAIN)])
    if not timed:
        return
    took, waited = (timed[-1][name] - timed[0][name] for name in ("seconds", "waited"))
    if took and waited > WAITING * took:
        workers = 2 * _at(settings, "data.workers", 2) or 2
        evidence = f"since step {timed[0]['step']} {waited / took:.0%} of the time went into waiting for images"
        kept = f"--set data.workers={workers}, --set data.cache_gb=8 to keep them decoded"
        yield Ailment("the data is slower than the network", evidence, f"{kept}, or store them at about data.load_size")


# Validations


def _validations(rows: Sequence[Row], begins: float) -> Sequence[Row]:
    """The last two, so that one chance is not enough; of a run that is over the last one may be alone."""
    found = [row for row in rows if row["step"] > begins and any(name.startswith("probe/") for name in row)][-2:]
    return found if len(found) == 2 or (found and found[0]["step"] == found[0]["until"]) else []


def _of_outputs(validations: Sequence[Row], settings: Tree) -> Iterator[Ailment]:
    """What the last validations agree on."""
    for judge in (_collapsed, _styles_alike, _inverted, _saturated, _checkerboard, _nothing_done):
        found = [judge({name.removeprefix("probe/"): v for name, v in row.items()}, settings) for row in validations]
        if found and all(found) and found[-1]:
            yield found[-1]


def _collapsed(probe: Row, settings: Tree) -> Ailment | None:
    if "spread" not in probe or probe["spread"] >= COLLAPSED * probe["spread-real"]:
        return None
    evidence = f"they differ from one another by {probe['spread']:.2g}, and real images by {probe['spread-real']:.2g}"
    return Ailment(
        "outputs hardly depend on the input", evidence, f"{_more_matching(settings)}, or start again with another --seed"
    )


def _more_matching(settings: Tree) -> str:
    """What ties outputs closer to what they should show."""
    for name in ("lambda_l1", "lambda_cycle_x", "lambda_reg"):
        if (weight := _at(settings, f"model.{name}")) is not None:
            return f"--set model.{name}={2 * weight or 10:g}"
    return "a larger weight of what ties outputs to inputs"


def _styles_alike(probe: Row, settings: Tree) -> Ailment | None:
    if probe.get("styles", 1) >= ONE_LEVEL:
        return None
    remedy = {
        "crn": "fewer model.images, since those that are never the best hardly learn",
        "pix2pixhd": "train longer, or --set model.lambda_l1=0 where it is on",
    }.get(settings["method"], "--set model.mode_seeking.weight=1")
    evidence = f"two outputs of one input differ by {probe['styles']:.2g}, less than one 8-bit level ({ONE_LEVEL:.2g})"
    return Ailment("outputs hardly depend on the style", evidence, remedy)


def _inverted(probe: Row, settings: Tree) -> Ailment | None:
    """Without targets a person may want opposites: only where the mean output is unlike the mean real image too."""
    side = "target" if "correlation-target" in probe else "input"
    value = probe.get(f"correlation-{side}", 1)
    if value > INVERTED or (side == "input" and probe.get("correlation-mean", 0) > LIKE_REAL):
        return None
    evidence = f"their brightness has a correlation of {value:.2f} with that of {side}s"
    weight = _at(settings, "model.lambda_identity")
    remedy = _more_matching(settings) if weight is None else f"--set model.lambda_identity={2 * weight or 0.5:g}"
    return Ailment("outputs are inverted", evidence, f"{remedy}, or start again with another --seed")


def _saturated(probe: Row, settings: Tree) -> Ailment | None:
    if probe.get("saturated", 0) < probe.get("saturated-real", 0) + BLOWN:
        return None
    evidence = (
        f"{probe['saturated']:.0%} of their values lie at an end of the range, and {probe['saturated-real']:.0%} of real ones"
    )
    return Ailment("outputs are saturated", evidence, f"--set train.lr={settings['train']['lr'] / 2:g}, or --set train.clip=10")


def _checkerboard(probe: Row, settings: Tree) -> Ailment | None:
    if not {"checkerboard", "checkerboard-real"} <= probe.keys() or _share_done(probe) < FADED:
        return None
    if probe["checkerboard"] < max(PATTERN, PATTERNED * probe["checkerboard-real"]):
        return None
    transposed = _at(settings, "model.generator.upsample", "resize") != "resize"
    remedy = (
        "--set model.generator.upsample=resize for a new run"
        if transposed
        else f"--set train.lr={settings['train']['lr'] / 2:g}"
    )
    amplitude, real = probe["checkerboard"], probe["checkerboard-real"]
    evidence = f"what repeats every 2 or 4 pixels has an amplitude of {amplitude:.2g}, and {real:.2g} in real images"
    return Ailment("outputs show checkerboards", evidence, remedy)


def _nothing_done(probe: Row, settings: Tree) -> Ailment | None:
    """Nothing but a change of brightness and contrast is nothing: R(x) = x - 1 is where refiners end that have given up."""
    if not {"reworked", "spread"} <= probe.keys() or _collapsed(probe, settings):
        return None
    least = LITTLE * probe["reworked-target"] if "reworked-target" in probe else COPIES
    if probe["reworked"] >= least:
        return None
    more = f", {probe['reworked-target']:.2g} in targets" if "reworked-target" in probe else ""
    same = f"{probe['reworked']:.2g} from the same with another brightness and contrast"
    evidence = f"they are {probe['moved']:.2g} from the inputs, and {same}{more}"
    who = "the refiner does nothing" if settings["method"] == "simgan" else "outputs are copies of the inputs"
    return Ailment(who, evidence, _bolder(settings))


def _bolder(settings: Tree) -> str:
    """Less of what holds outputs where inputs are."""
    for name in ("lambda_reg", "lambda_identity", "lambda_l1"):
        if weight := _at(settings, f"model.{name}", 0):
            return f"--set model.{name}={weight / 4:g}, which is {weight:g}"
    return "start again with another --seed"


# Known images and new ones

ERRORS = {"l1": lambda v: v, "psnr": lambda v: 10 ** (-v / 20), "ssim": lambda v: 1 - v}
"""From a metric of pairs to how wrong they are."""


def _gap(rows: Sequence[Row], begins: float, settings: Tree) -> Iterator[Ailment]:
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
            yield Ailment("training images are learned by heart", evidence, _more_variety(settings))
        return


def _more_variety(settings: Tree) -> str:
    ways = [] if settings["data"]["flip"] else ["--set data.flip=true"]
    if _at(settings, "model.gan") and not _at(settings, "model.gan.augment"):
        ways.append("--set model.gan.augment=translation")
    return ", ".join([*ways, "more images, or --set train.patience=5 to end here: the best checkpoint is kept"])
