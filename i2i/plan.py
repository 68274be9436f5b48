"""Look at data, try what fits it on this machine, and write the settings down with a reason for each."""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from i2i import advice
from i2i.advice import Choice, Choices, Length, Rung
from i2i.config import DataSettings, commented, dump_value, from_assignments
from i2i.data import catalogue, folders
from i2i.data.check import examine
from i2i.data.facts import Facts, facts, views
from i2i.data.findings import Finding
from i2i.data.locate import locate, paced
from i2i.data.reader import cache_budget
from i2i.data.settle import settle_labels
from i2i.errors import OutOfResources, UserError
from i2i.losses.perceptual import weights_file
from i2i.measure import Cost, measure
from i2i.methods import chosen as known_method
from i2i.models import configure, method_class
from i2i.prepare import Prepared, check_networks, prepare, spared
from i2i.training.memory import is_about_memory
from i2i.training.precision import choose_device, choose_precision

BUDGETS = {"cpu": "2h"}
GPU_BUDGET = "12h"
"""How long a run may take, unless said otherwise: an evening on a CPU, a night on a GPU."""
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
ROOM = 0.9
"""The share of the free memory that a run may take."""
PATIENCE = 3
"""A first step, which warms up, that is so many times too slow need not be followed by a second."""
BESIDE = 1.03
"""What sample sheets, logs and checkpoints add to the time of the steps."""


@dataclass(frozen=True)
class Try:
    """A rung of the ladder, as it was measured. `seconds` and `steps` are of the whole run."""

    name: str
    size: str
    batch: int
    step: float | None
    memory: int | None
    steps: int | None
    seconds: float | None
    verdict: str
    chosen: bool


@dataclass(frozen=True)
class Pace:
    """How fast a training goes, in seconds: `step` for every step, and `wait` more for the `first` ones, while it reads."""

    step: float
    wait: float
    first: float

    def seconds(self, steps: int) -> float:
        return steps * self.step + min(steps, self.first) * self.wait

    def within(self, allowed: float) -> tuple[float, float]:
        """The seconds of one more step, and those of a budget that are left for such steps."""
        if self.first * (self.step + self.wait) <= allowed:
            return self.step, allowed - self.first * self.wait
        return self.step + self.wait, allowed


@dataclass(frozen=True)
class Plan:
    """What fits the data and this machine, and why."""

    source: str
    method: str
    why: str
    others: tuple[str, ...]
    facts: Facts
    findings: tuple[Finding, ...]
    device: str
    precision: str
    budget: str
    tries: tuple[Try, ...]
    choices: Choices
    concerns: tuple[str, ...]

    @property
    def best(self) -> Try:
        return next(t for t in self.tries if t.chosen)

    def text(self) -> str:
        """The config file: what was seen and measured, then every setting that is no default, with its reason."""
        lines = [f"# {line}" for line in self.summary()]
        settings = {key: choice.value for key, choice in sorted(self.choices.items(), key=_place)}
        reasons = {key: choice.reason for key, choice in self.choices.items()}
        return "\n".join([*lines, f"method: {self.method}", *commented(settings, reasons, 36)]) + "\n"

    def summary(self) -> list[str]:
        """What was seen, what was tried and what comes of it, in lines."""
        f, best = self.facts, self.best
        assert best.step is not None
        assert best.seconds is not None
        assert best.memory is not None
        held = f", {f.held_out} held out" if f.held_out else ""
        turn = self.choices.get("data.direction")
        return [
            f"{self.method} for {self.source}: {self.why}",
            f"data: {f.said}{held}",
            *(f"side {name}: {_described(f, name)}" for name in ("A", "B")),
            *([f"the input is B: {turn.reason}"] if turn else []),
            *(f"also possible: {other}" for other in self.others),
            *(f"{t.name}: {_told(t)}" for t in self.tries),
            *(f"note: {concern}" for concern in self.concerns),
            f"the run: {best.steps} steps of {_seconds(best.step)}, {clock(best.seconds)} in all and "
            f"{best.memory / 1e9:.1f} GB, on {self.device} in {self.precision}, as measured here",
        ]


def _place(item: tuple[str, Choice]) -> tuple[int, list[str]]:
    """Sections in the order of a config, groups together."""
    groups = item[0].split(".")
    return ["model", "data", "train"].index(groups[0]), groups[:-1]


def _described(facts: Facts, name: str) -> str:
    side = facts.a if name == "A" else facts.b
    if name == "A" and facts.labels:
        return f"{side.images} maps of {side.width}x{side.height}, {facts.labels}" + (
            ", with instances" if facts.instances and not facts.labels.instances else ""
        )
    mean = f", mean {' '.join(f'{value:.2f}' for value in side.mean)}" if side.mean else ""
    grey = ", grey in truth" if side.colourful is not None and side.channels == 3 and side.colourful < 0.005 else ""
    detail = f", detail {side.detail:.0%}" if side.detail is not None else ""
    return f"{side}{grey}{mean}{detail}"


def _told(t: Try) -> str:
    if t.step is None or t.seconds is None or t.memory is None:
        return t.verdict
    cost = f"{t.size} px, batch {t.batch}, {_seconds(t.step)} a step, {t.memory / 1e9:.1f} GB"
    return f"{cost}, {t.steps} steps in {clock(t.seconds)}: {t.verdict}"


def plan(
    source: str,
    *,
    method: str | None = None,
    direction: str | None = None,
    budget: str | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Look at the data, choose a method (unless one is given) and the largest networks that fit the budget.

    Raises UserError for what would stop training, as `train` does.
    """
    # What is asked for.
    kind: Any = known_method(method).data if method else None
    precision = choose_precision("auto", choose_device(device))
    allowed = seconds_of(budget or BUDGETS.get(precision.device.type, GPU_BUDGET))
    layouts = method_class(method).scenes or kind if method else "unpaired"
    place = locate(source, layouts, say)

    # What the data is.
    settings = DataSettings.model_validate({"direction": direction or "AtoB"})
    how: dict[str, Any] = {"kind": kind, "settings": settings, "sketched": True}
    how["size"] = 1, 1  # no image is too small yet: the crop is chosen below, to suit them
    report, seen = examine(place, **how, on_progress=paced(say, "data: looked at", "files"))
    for finding in report.findings:
        if finding.severity == "error":
            raise _refusal(finding, place)
    assert seen
    about = facts(report, seen, settings)

    # The method, and which side is the input.
    guessed, why = advice.method_for(about)
    chosen, why = (method, "asked for") if method else (guessed, why)
    about = replace(about, kind=known_method(chosen).data)
    asked = Choice(direction, "--direction") if direction == "BtoA" else None
    turn = asked if direction else advice.direction_for(about, chosen, _usual(source))
    way, x = ("BtoA", about.b) if turn else ("AtoB", about.a)
    if x.ids and not about.labels and about.kind == "paired":
        settings = settings.model_copy(update={"direction": way, "labels": True})
        about = replace(about, labels=settle_labels(seen.found, settings)[0])
        if not method:
            chosen, why = "pix2pixhd", f"pairs of label maps (values from {x.low:g} to {x.top:g}) and photos"

    # The settings: what the data asks for, and the largest networks that fit.
    common = advice.for_data(about, chosen, way, perceptual=_no_perceptual(about, chosen, way, precision.device))
    given = {"data.source": Choice(source, "")} | ({"data.direction": turn} if turn else {})
    given |= {"train.device": Choice(device, "--device")} if device != "auto" else {}
    ladder = advice.rungs(about, chosen, common | given)
    tries, length, pace = _climb(ladder, about, chosen, place, allowed, device, say)
    best = next(rung for rung, t in zip(ladder, tries, strict=False) if t.chosen)
    return Plan(
        source=source,
        method=chosen,
        why=why,
        others=tuple(advice.others(about, chosen, _has_weights("vgg19"))),
        facts=about,
        findings=report.findings,
        device=_name(precision.device),
        precision=precision.name,
        budget=clock(allowed),
        tries=tuple(tries),
        choices=best.choices | {length.key: length.choice},
        concerns=tuple(_concerns(report.findings, about, length, pace)),
    )


# Looking


def _refusal(finding: Finding, place: str) -> UserError:
    """The error that a finding is; where single images are views of the same things, how to pair them."""
    example = f", such as '{finding.files[0]}'" if finding.files else ""
    if finding.kind == "layout" and Path(place).is_dir():
        inner = [folder for folder in (Path(place) / "train", Path(place)) if folder.is_dir()]
        files = next((found for folder in inner if (found := folders.image_files(folder))), [])
        if ends := views([file.stem for file in files]):
            shown = f"{len(files) // len(ends)} things in {len(ends)} views (_{', _'.join(list(ends)[:5])})"
            hint = (
                f"the {len(files)} images of '{files[0].parent}' are {shown}: list the pairs you mean in a .csv with the"
                " columns A and B, and plan for that file; several B of one A ask for bicyclegan"
            )
            return UserError(finding.what, hint)
    return UserError(f"{finding.what}{example}", f"{finding.do}; i2i data check {quote(place)} shows all")


def _usual(source: str) -> str | None:
    """The direction of a set that is known by name."""
    return next((entry.direction for entry in catalogue.ENTRIES if entry.name == source), None)


def _no_perceptual(about: Facts, method: str, way: str, device: torch.device) -> str:
    """Why there can be no perceptual terms; "" where there can."""
    if method not in advice.PERCEPTUAL:
        return ""
    channels = (about.a if way == "BtoA" else about.b).channels
    if channels not in (1, 3):
        return f"perceptual terms see 1 or 3 channels, not {channels}"
    if not _has_weights("vgg19"):
        return "the weights of VGG-19 are not here: i2i doctor says where they go"
    return "on a CPU VGG-19 would take most of the time" if device.type == "cpu" and method == "pix2pixhd" else ""


def _has_weights(network: Any) -> bool:
    try:
        return weights_file(network, None).is_file()
    except UserError:
        return False


# Trying


def _climb(
    ladder: Sequence[Rung],
    about: Facts,
    method: str,
    place: str,
    allowed: float,
    device: str,
    say: Callable[[str], None],
) -> tuple[list[Try], Length, Pace]:
    """Measure from the largest networks on, until they fit."""
    tries: list[Try] = []
    prepared: Prepared | None = None
    on = choose_device(device)
    for number, rung in enumerate(ladder):
        if rung.gpu and on.type == "cpu":
            tries.append(Try(rung.name, rung.size, rung.batch, None, None, None, None, "not tried: it is for a GPU", False))
            continue
        say(f"trying {method} as in '{rung.name}', {rung.size} px, on {on}")
        prepared = _prepared(rung, about, method, place, prepared)
        try:
            wanted = advice.length_for(rung, about, 0, allowed, "").wanted
            cost = measure(prepared, hopeless=PATIENCE * 2 * allowed / wanted)
        except (RuntimeError, MemoryError) as error:
            if not is_about_memory(error):
                raise
            tries.append(Try(rung.name, rung.size, rung.batch, None, None, None, None, "out of memory", False))
            continue
        pace = _pace(prepared, cost)
        length = advice.length_for(rung, about, *pace.within(allowed), clock(allowed))
        last = number == len(ladder) - 1
        t = _judged(rung, length, pace, cost, prepared, last, clock(allowed))
        tries.append(t)
        if t.chosen:
            return tries, length, pace
    raise OutOfResources(
        f"no way to train {method} fits into the memory that is free",
        f"close other programs, or i2i plan {quote(place)} --device cpu",
    )


def _prepared(rung: Rung, about: Facts, method: str, place: str, before: Prepared | None) -> Prepared:
    """The data as `train` would take it; a second rung goes by what the first one has found."""
    kind = method_class(method)
    config = configure(method, [from_assignments([f"{key}={dump_value(c.value)}" for key, c in rung.choices.items()])])
    found: dict[str, Any] = {"source": place}
    if before:
        found |= {key: value for key, value in before.config.tree()["data"].items() if key in ("layout", "x", "y")}
    elif about.labels:  # its maps have been read
        found["x"] = about.labels.model_copy(update={"instances": about.instances and "instances" in kind.reads}).model_dump()
    config = config.replaced("the data", data=found)
    if before:
        check_networks(config)
        return replace(before, config=config)
    return prepare(config, decode=False)


def _judged(rung: Rung, length: Length, pace: Pace, cost: Cost, prepared: Prepared, last: bool, budget: str) -> Try:
    memory = cost.memory + (_kept_bytes(prepared) if _device(prepared).type == "cpu" else 0)
    steps, verdict, fits = length.steps, f"chosen, fits {budget}", True
    if memory > ROOM * cost.free:
        verdict, fits = f"too much for the {cost.free / 1e9:.1f} GB that are free", False
    elif not length.enough and not last:
        steps, verdict, fits = length.wanted, f"{budget} would not do for half of it", False
    elif not length.enough:
        verdict = f"chosen, the smallest there is; {budget} are short for it"
    return Try(rung.name, rung.size, rung.batch, cost.step, memory, steps, pace.seconds(steps), verdict, fits)


def _device(prepared: Prepared) -> torch.device:
    return choose_device(prepared.config.train.device)


def _pace(prepared: Prepared, cost: Cost) -> Pace:
    """With the time that training waits for its images: on a GPU threads read ahead, and what is kept is read once."""
    batch = prepared.config.train.batch
    read = batch * cost.reading
    wait = read if _device(prepared).type == "cpu" else max(0.0, read / 4 - cost.step)
    epoch = max(len(prepared.train.a), len(prepared.train.b)) / batch
    return Pace(BESIDE * cost.step, wait, epoch if _kept_bytes(prepared) else math.inf)


def _kept_bytes(prepared: Prepared) -> int:
    """What all images of training take, once each is read; 0 where they are too many to be kept.

    At loading size; those that keep their own size are taken for about as large.
    """
    data = prepared.config.data
    assert data.x
    assert data.y
    pixels = data.resized[0] * data.resized[1]
    sides = (prepared.train.a, data.x), (prepared.train.b, data.y)
    decoded = sum(len(sources) * pixels * (1 if d.labels else d.channels * np.dtype(d.dtype).itemsize) for sources, d in sides)
    return decoded if decoded <= cache_budget(data) else 0


def _concerns(findings: Sequence[Finding], about: Facts, length: Length, pace: Pace) -> list[str]:
    """What a person should know before starting."""
    said = [
        f"{finding.what}: {finding.do}" for finding in findings if finding.severity == "warning" and _counts(finding, about)
    ]
    if not length.enough:
        need = pace.seconds(length.wanted)
        said.append(f"{length.steps} steps are few, the recipe has {length.wanted}: --budget {clock(need)} would do")
    if about.kind == "paired" and advice.unlike(about):
        hint = "--method cyclegan" if about.layout == "two-folders" else "it may be another kind of set"
        said.append(f"{advice.likeness(about)}: are these pairs? If not, {hint}")
    busy = _busy()
    if busy:
        said.append(busy)
    if not about.held_out and not spared(about.fewest):
        said.append(
            "nothing is held out: --set data.hold_back=10 or a folder val or test lets results be judged on what is new"
        )
    if about.labels and not about.labels.unlabelled:
        said.append("every id is a class here; where one means unlabelled, name it: --set 'data.void=[N]'")
    return said


def _busy() -> str:
    """What else runs here, where that has slowed the measuring down."""
    if not hasattr(os, "getloadavg"):
        return ""
    load, cores = os.getloadavg()[0] - 1, os.cpu_count() or 1  # one is this process
    return (
        f"other programs keep about {min(load, cores):.0f} of {cores} cores busy; alone it would be faster" if load >= 1 else ""
    )


def _counts(finding: Finding, about: Facts) -> bool:
    """Whether the settings of the plan leave the finding as it is."""
    return not (finding.kind == "faint" or (finding.kind == "partners" and advice.unlike(about)))


# Words


def seconds_of(text: str) -> float:
    """2h, 90m, 1h30m, 1d -> seconds."""
    found = re.fullmatch(r"(?:\d+(?:\.\d+)?[dhms])+", text.strip())
    seconds = sum(float(n) * UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)) if found else 0
    if not seconds:
        raise UserError(f"a budget is a time such as 90m, 2h or 1d12h, not '{text}'", "--budget 2h")
    return seconds


def clock(seconds: float) -> str:
    """Such as 40s, 1h30m or 2d: in words that `seconds_of` takes."""
    s = max(1, round(seconds)) if seconds < 600 else round(seconds / 60) * 60
    parts = (s // 86400, "d"), (s // 3600 % 24, "h"), (s // 60 % 60 if s < 86400 else 0, "m"), (s % 60, "s")
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def _name(device: torch.device) -> str:
    count = torch.get_num_threads()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({count} thread{'s' if count > 1 else ''})" if device.type == "cpu" else str(device)
