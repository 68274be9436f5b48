"""Everything that is settled and checked before a run exists: its data is found and looked at, its networks are weighed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

from i2i.config import Config, DataSettings, flat, spelled
from i2i.data import folders
from i2i.data.check import check
from i2i.data.labels import Census, wanted
from i2i.data.locate import locate, paced
from i2i.data.reader import cache_budget
from i2i.data.settle import settle, settle_labels
from i2i.domain import Domain
from i2i.errors import UserError, meant
from i2i.models import method_class, without_weights
from i2i.training import ranks
from i2i.training.precision import choose_device, choose_precision
from i2i.validation import foreseen

SHARE, FEWEST, MOST = 10, 20, 50
"""Where the data has no held-out part, one image in `SHARE` is held back, if that makes `FEWEST`, and `MOST` at most."""


@dataclass(frozen=True)
class Prepared:
    """A configuration whose data was found and looked at: everything is settled, nothing has been written."""

    config: Config
    train: folders.Sides
    held_out: folders.Sides | None
    said: tuple[str, ...]


def prepare(config: Config, say: Callable[[str], None] = lambda text: None, *, decode: bool = True) -> Prepared:
    """Find the data, settle what its values are, and check everything that can be checked before training.

    Raises UserError for whatever would stop training later. `decode` also looks at every image, as
    `i2i data check` does.
    """
    if not config.data.source:
        raise UserError("there is no data to train on", "--data FOLDER, or --data scenes for the built-in set")
    choose_precision(config.train.precision, choose_device(config.train.device))
    kind = method_class(config.method).data
    group = ranks.join()
    scenes, crop = method_class(config.method).scenes or kind, _largest_crop(config)
    place = group.tell(lambda: locate(config.data.source, scenes, say, crop))
    found = folders.find(place, config.data.layout)
    train, held_out, notes = divided(found, kind, config.data)
    if not train.a or not train.b:
        raise UserError(
            f"no image in '{place}' has a partner of the same name", f"i2i data check {quote(place)} shows what lies there"
        )

    x_side, y_side = ("B", "A") if config.data.direction == "BtoA" else ("A", "B")
    stated = [side for side, domain in ((x_side, config.data.x), (y_side, config.data.y)) if domain]
    counted: Census = {}
    if wanted(config.data, found.layout, kind):
        x = Domain.model_validate_json(group.tell(lambda: _label_domain(config, found, counted, say)))
    else:
        x = settle("x", train.a)
    y = settle("y", train.b)
    train, held_out, has_instances = _accompanied(config, train, held_out, labels=x.labels)
    x = x.model_copy(update={"instances": has_instances})
    changes = {"source": place, "layout": found.layout}
    config = config.replaced("the data", data=changes | {
        side: domain.model_dump() for side, domain in (("x", x), ("y", y)) if getattr(config.data, side) is None
    })  # fmt: skip
    for stage in config.by_stage().values():
        check_networks(stage)
    if decode:
        group.tell(lambda: _check_images(config, kind, "".join(stated), say, counted))
    budget = cache_budget(config.data)
    said = (
        found.said + (", B to A" if config.data.direction == "BtoA" else ""),
        f"x: {len(train.a)} images, {config.data.x or x} · y: {len(train.b)} images, {config.data.y or y}"
        + (f" · held out: {len(held_out.a)} and {len(held_out.b)}" if held_out else ""),
        *([f"decoded images are kept in memory, up to {budget / 1e9:.1f} GB (data.cache_gb)"] if budget else []),
        *notes,
        *foreseen(config, min(len(held_out.a), len(held_out.b)) if held_out else 0),
    )
    return Prepared(config, train, held_out, said)


def _largest_crop(config: Config) -> tuple[int, int]:
    """(height, width) of the largest crop that a stage takes."""
    return max((stage.data.crop for stage in config.by_stage().values()), key=math.prod)


def spared(images: int) -> int:
    """How many of so many images a side, none of which is held out, are held back without being asked to."""
    return min(images // SHARE, MOST) if images >= SHARE * FEWEST else 0


def divided(found: folders.Found, kind: str, settings: DataSettings) -> tuple[folders.Sides, folders.Sides | None, list[str]]:
    """What is trained on and what is not, as x and y: the data's own val or test, else images that are held back.

    Raises UserError where more are to be held back than there are, or beside a split of the data's own.
    """
    train, notes = oriented(found.splits["train"], kind, settings.direction)
    count, least = settings.hold_back, min(len(train.a), len(train.b))
    if found.held_out:
        if count:
            raise UserError("data.hold_back has no effect: the data has a held-out part of its own", "leave it out")
        return train, oriented(found.held_out, kind, settings.direction)[0], notes
    count = spared(least) if count is None else count
    if not count or not least:
        return train, None, notes
    if count >= least:
        raise UserError(f"data.hold_back is {count}, and a side has {least} images", "fewer, so that some are left to train on")
    train, held_out = folders.held_back(train, count, paired=kind == "paired")
    said = (
        f"{count} of {least} {'pairs' if kind == 'paired' else 'images a side'} are held back to validate on (data.hold_back)"
    )
    return train, held_out, [*notes, said]


def oriented(sides: folders.Sides, kind: str, direction: str) -> tuple[folders.Sides, list[str]]:
    """The sides as x and y: matched by name where the method learns from pairs, swapped where B is the input."""
    notes = []
    if kind == "paired":
        matched, alone = folders.pairs(sides)
        sides = folders.Sides([a for a, _ in matched], [b for _, b in matched], sides.instances)
        if alone:
            notes.append(f"{len(alone)} images have no partner and are left out, such as '{alone[0].path}'")
    return (folders.Sides(sides.b, sides.a) if direction == "BtoA" else sides), notes


def _label_domain(config: Config, found: folders.Found, counted: Census, say: Callable[[str], None]) -> str:
    """The domain of a label map as JSON; `counted` gets what is in the files. One that is settled is taken as it is."""
    if config.data.x:
        return config.data.x.model_dump_json()
    domain, census = settle_labels(found, config.data, paced(say, "data: read", "label maps"))
    counted |= census
    return domain.model_dump_json()


def _accompanied(
    config: Config, train: folders.Sides, held_out: folders.Sides | None, *, labels: bool
) -> tuple[folders.Sides, folders.Sides | None, bool]:
    """The sides with what the method reads beside them, one for each pair, and whether instances are among that."""
    reads, region, x = method_class(config.method).reads, config.data.region, config.data.x
    if region and "region" not in reads:
        raise UserError(f"{config.method} has no use for data.region", "leave it out; it weighs the errors of pairs")
    weight = getattr(config.model, "lambda_region", 0)
    if bool(region) != bool(weight):
        lacking = "model.lambda_region is 0" if region else "data.region names no masks"
        raise UserError(
            f"{'data.region' if region else 'model.lambda_region'} has no effect, since {lacking}",
            "--set model.lambda_region=9 lets a marked pixel weigh ten times" if region else "--set data.region=FOLDER",
        )
    has_instances = labels and "instances" in reads and (x.instances if x else bool(train.instances))

    def instances(sides: folders.Sides) -> list[folders.Source]:
        return folders.companions(sides.a, sides.instances, "instance map") if has_instances else []

    masks = folders.companions(train.a, folders.masks(region), "mask") if region else []
    train = replace(train, instances=instances(train), region=masks)
    return train, replace(held_out, instances=instances(held_out)) if held_out else None, has_instances


def _check_images(config: Config, kind: Any, stated: str, say: Callable[[str], None], counted: Census) -> str:
    """Say what would hurt training, and raise UserError for what would stop it. Returns nothing to tell."""
    report = check(
        config.data.source,
        config.data.layout,
        kind=kind,
        size=_largest_crop(config),
        settings=config.data,
        counted=counted or None,
        thorough=config.data.check,
        stated=stated,
        on_progress=paced(say, "data: checked", "images"),
    )
    for finding in report.findings:
        example = f", such as '{finding.files[0]}'" if finding.files else ""
        if finding.severity == "error":
            raise UserError(f"{finding.what}{example}", f"{finding.do}; i2i data check {quote(config.data.source)} shows all")
        if finding.severity == "warning":
            say(f"warning: {finding.what}{example}: {finding.do}")
    return ""


def check_networks(config: Config) -> None:
    """Raise UserError where the networks do not have the players that are named, or the crop does not suit them."""
    method = without_weights(config)
    method.require()
    settings = flat(config.tree())
    if config.train.compile and (settings.get("model.gan.r1") or settings.get("model.gan.kind") == "wgan-gp"):
        raise UserError("train.compile cannot go with a gradient penalty, which differentiates twice", "leave --compile out")
    unknown = config.train.player_lr.keys() - method.players()
    if unknown:
        wrong, first = min(unknown), next(iter(method.players()))
        raise UserError(
            f"train.player_lr names '{wrong}', but the players are {', '.join(method.players())}",
            meant(wrong, method.players()) or f"such as --set train.player_lr.{first}={config.train.lr:g}",
        )
    crop, stride, smallest = config.data.crop, method.crop_stride(), method.smallest_crop()
    enough = math.ceil(smallest / stride) * stride
    fitting = spelled(tuple(max(enough, round(side / stride) * stride) for side in crop))
    if any(side % stride for side in crop):
        raise UserError(
            f"data.size is {config.data.size}, but this generator needs a multiple of {stride}",
            f"--size {fitting}{_or_shallower(config)}",
        )
    if min(crop) < smallest:
        raise UserError(f"data.size is {config.data.size}, but these networks need {smallest} at least", f"--size {fitting}")
    if config.data.resize == "square" and any(loaded < cut for loaded, cut in zip(config.data.resized, crop, strict=True)):
        raise UserError(
            f"data.load_size is {spelled(config.data.resized)}, smaller than data.size ({config.data.size})",
            f"--set data.load_size={config.data.size} trains without random crops",
        )


def _or_shallower(config: Config) -> str:
    """The other way out, for a generator whose stride is a setting: a U-Net."""
    depth, settings = min(map(_halvings, config.data.crop)), flat(config.tree())
    is_unet = "model.generator.depth" in settings and settings.get("model.generator.kind", "unet") == "unet"
    return f", or a shallower one: --set model.generator.depth={depth}" if is_unet and depth >= 2 else ""


def _halvings(size: int) -> int:
    """How often a side can be halved."""
    return int(math.log2(size & -size))
