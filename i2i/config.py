"""Layered, typed configuration that knows where every value came from.

Defaults in the code < preset < `--config FILE` < named options < `--set key=value`. Later layers win, key by key.
"""

import importlib.resources
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from i2i.domain import Domain
from i2i.errors import UserError, meant, nearest
from i2i.settings import Settings

Tree = dict[str, Any]
CONFIG = "config.yaml"
"""The file in a run that holds its complete configuration."""

Beta = Annotated[float, Field(strict=True, ge=0, lt=1)]
Rate = Annotated[float, Field(strict=True, gt=0)]


def _pixels(value: Any) -> int | str:
    """256, "256" and "256x256" -> 256; "1024x512" stays."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if not (found := re.fullmatch(r"([1-9]\d{0,5})(?:[xX]([1-9]\d{0,5}))?", text)):
        raise ValueError("must be pixels, such as 256, or WIDTHxHEIGHT, such as 1024x512")
    width, height = int(found[1]), int(found[2] or found[1])
    return width if width == height else f"{width}x{height}"


Size = Annotated[int | str, BeforeValidator(_pixels)]
"""One number for a square, or "WIDTHxHEIGHT"."""


def sides(size: int | str) -> tuple[int, int]:
    """The (height, width) of a size."""
    width, _, height = str(size).partition("x")
    return int(height or width), int(width)


def spelled(sides: tuple[int, ...]) -> str:
    """(height, width) as a size is given: 256, or 1024x512."""
    height, width = sides
    return str(width) if width == height else f"{width}x{height}"


class DataSettings(Settings):
    """What to learn from. Defaults: resize to 286, crop 256, mirror (Isola et al. 2017, section 6.2), scaled with `size`."""

    source: str = ""
    layout: Literal["auto", "labels", "two-folders", "side-by-side", "manifest"] = "auto"
    direction: Literal["AtoB", "BtoA"] = "AtoB"
    size: Size = 256
    """The crop that is trained on, in pixels: the side of a square, or WIDTHxHEIGHT."""
    load_size: Size | None = None
    """The size after resizing, before the crop; null: 286/256 of `size`, as published."""
    resize: Literal["square", "shorter", "width", "none"] = "square"
    """square: both sides become those of `load_size`, as published · shorter: the shorter side does · width: the width does
    (Wang et al. 2018, published code) · none: crops of the original. All but the first keep the aspect."""
    flip: bool = True
    check: bool = True
    """true: decode every image once before training, to find damaged ones then · false: trust them."""
    cache_gb: float | None = Field(None, ge=0)
    """Memory for decoded images; null: a quarter of what is free; 0: decode every time."""
    workers: int | None = Field(None, ge=0)
    """Threads that prepare batches; null: none on the CPU, where they would take time from training, else up to 4."""
    labels: bool | None = None
    """Whether the input side is a label map, of the ids of classes; null: as the layout says."""
    palette: str | None = None
    """A file with the colours of the classes, in order, for label maps that show colours: JSON or lines of "r g b [name]"."""
    classes: int | None = Field(None, ge=1)
    """How many classes there are; null: those that are found, in all splits."""
    void: tuple[int, ...] | None = None
    """Ids that mean "unlabelled", such as [0, 255]; null: 255 where it occurs and no class comes near it."""
    region: str | None = None
    """A folder of grey masks with the names of the pairs, white where errors matter more."""
    hold_back: int | None = Field(None, ge=0)
    """How many training images of a side are kept to validate on, where the data has no val or test; null: a tenth, 50 at most,
    of 200 or more; 0: none."""
    x: Domain | None = None
    y: Domain | None = None

    @field_validator("void", mode="before")
    @classmethod
    def _one_id_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @property
    def crop(self) -> tuple[int, int]:
        """(height, width)"""
        return sides(self.size)

    @property
    def resized(self) -> tuple[int, int]:
        """(height, width)"""
        if self.load_size is not None:
            return sides(self.load_size)
        height, width = self.crop
        return round(height * 286 / 256), round(width * 286 / 256)


class TrainSettings(Settings):
    """How to learn. Defaults: both papers' Adam and rates, and the 100 + 100 epochs of the published PyTorch code."""

    epochs: float | None = Field(200, gt=0)
    steps: int | None = Field(None, ge=1)
    """The length in steps; null: `epochs` decide."""
    batch: int = Field(1, ge=1)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    decay_from: float = Field(0.5, ge=0, le=1)
    """The share of the run after which a linear schedule decays: 100 of 200 epochs."""
    lr: float = Field(2e-4, gt=0)
    player_lr: dict[str, Rate] = {}
    """Learning rates that differ, by player, such as {D: 4e-4} (two time-scales, Heusel et al. 2017)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm of a player; null: no clipping, as published."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the generators' weights per step; 0: none, as published."""
    seed: int = Field(0, ge=0, lt=2**63)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    log_every: int = Field(20, ge=1)
    sample_every: int = Field(500, ge=1)
    save_every: int = Field(1000, ge=1)
    save_minutes: float = Field(15, gt=0)
    """A checkpoint is also written when the last one is older than this."""
    keep: int = Field(2, ge=1)
    """How many checkpoints stay on the disk."""
    samples: int = Field(4, ge=0)
    """How many fixed images the sample sheets show."""
    validate_every: int = Field(1000, ge=0)
    """How often held-out images are translated and measured, in steps; 0: never."""
    validate_images: int = Field(50, ge=1)
    """How many of them: the same ones every time."""
    metrics: tuple[str, ...] | None = None
    """What is measured, of `i2i evaluate --list`; null: l1, psnr, ssim of pairs, swd and 1nn-pixels of sets."""
    best_by: str | None = None
    """The metric by which the best checkpoint is kept; null: ssim of pairs, swd of sets."""
    patience: int | None = Field(None, ge=1)
    """The run ends after so many validations in a row without a better one; null: it goes on to its end."""


@dataclass(frozen=True)
class Config:
    """A whole configuration. `sources` says for each key, such as "train.lr", which layer its value came from.

    `stages` are trained one after another, each with the values that it names laid over the others. Without any, the whole
    configuration is the one stage.
    """

    method: str
    model: Settings
    data: DataSettings
    train: TrainSettings
    stages: dict[str, Tree] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict, compare=False)

    def tree(self) -> Tree:
        """Plain values, as in `config.yaml`."""
        parts = {name: getattr(self, name).model_dump(mode="json") for name in SECTIONS}
        return {"method": self.method, **parts, **({STAGES: self.stages} if self.stages else {})}

    def replaced(self, source: str, **changes: Tree) -> "Config":
        """A copy with some values changed; `changes` holds a tree for each section."""
        changes = _in_full(changes, self.tree(), {})
        sources = self.sources | _sources(changes, source)
        return _validated(self.method, type(self.model), merged(self.tree(), changes), sources)

    def by_stage(self) -> dict[str, "Config"]:
        """The configuration of each stage by its name, in their order; without stages this one alone, under no name."""
        if not self.stages:
            return {"": self}
        alone = replace(self, stages={})
        return {name: alone.replaced(f"stage '{name}'", **changes) for name, changes in self.stages.items()}


SECTIONS = ("model", "data", "train")
STAGES = "stages"
LENGTHS = {"train.epochs", "train.steps"}
OF_THE_RUN = ("source", "layout", "direction", "labels", "palette", "classes", "void", "region", "x", "y")
"""The settings of data that all stages share."""


@dataclass(frozen=True)
class Layer:
    """Some values and where they came from, such as ("preset 'small'", {"train": {"batch": 4}})."""

    source: str
    tree: Tree


def resolve(method: str, model: type[Settings], layers: list[Layer]) -> Config:
    """Lay the layers over the defaults, later ones on top, and check every value. Raises UserError for the first wrong one."""
    defaults = {"model": model(), "data": DataSettings(), "train": TrainSettings()}
    tree: Tree = {name: part.model_dump(mode="json") for name, part in defaults.items()}
    usual, sources = tree, _sources(tree, "default")
    for layer in layers:
        named = layer.tree.get("method", method)
        if named != method:
            raise UserError(f"{layer.source} is for the method '{named}', not '{method}'", f"i2i train {named} …")
        values = {key: value for key, value in layer.tree.items() if key not in ("method", "made_with")}
        values = _in_full(_one_length(values), tree, usual)
        values |= {STAGES: _checked_stages(values[STAGES])} if values.get(STAGES) is not None else {}
        _require_effect(layer.source, values, tree.get(STAGES) or {})
        sources |= _sources(values, layer.source)
        tree = merged(tree, values)
    return _validated(method, model, tree, sources)


def preset(method: str, name: str) -> Layer:
    """The shipped preset `name` of a method."""
    shipped = presets(method)
    if name not in shipped:
        raise UserError(f"{method} has no preset '{name}'", meant(name, shipped) or f"there are: {', '.join(shipped)}")
    file = importlib.resources.files("i2i.presets") / f"{method}-{name}.yaml"
    return Layer(f"preset '{name}'", parse(file.read_text(), f"preset '{name}'"))


def presets(method: str) -> dict[str, str]:
    """The presets of a method: name -> what its first comment line says of it."""
    files = importlib.resources.files("i2i.presets").iterdir()
    mine = sorted((f for f in files if f.name.startswith(f"{method}-") and f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name[len(method) + 1 : -5]: f.read_text().splitlines()[0].lstrip("# ") for f in mine}


def from_file(path: Path) -> Layer:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        hint = f"it must be a text file of YAML, such as the {CONFIG} of a run"
        raise UserError(f"cannot read the config file '{path}': {error}", hint) from None
    return Layer(f"'{path}'", parse(text, f"'{path}'"))


def from_assignments(assignments: list[str]) -> Layer:
    """`--set train.lr=1e-4` and the like. Values are read as in a config file."""
    tree: Tree = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)+", key):
            raise UserError(f"--set takes key=value with a dotted key, not '{assignment}'", "such as --set train.lr=1e-4")
        tree = merged(tree, _nested(key, _load(value, f"--set {key}")))
    return Layer("--set", tree)


def parse(text: str, where: str) -> Tree:
    """YAML text as a tree of plain values."""
    tree = _load(text, where)
    if not isinstance(tree, dict | NoneType) or not all(isinstance(key, str) for key in tree or {}):
        raise UserError(f"{where} does not hold settings", "it should look like: train: {batch: 4}")
    return tree or {}


def dump(tree: Tree) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def dump_value(value: Any) -> str:
    """One value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip().removesuffix("...").strip()


def commented(values: dict[str, Any], comments: dict[str, str], column: int = 44) -> list[str]:
    """Lines of YAML for values by dotted key, each with its comment."""
    lines: list[str] = []
    section: list[str] = []
    for key, value in values.items():
        *groups, leaf = key.split(".")
        for depth, group in enumerate(groups):
            if section[depth : depth + 1] != [group]:
                lines.append(f"{'  ' * depth}{group}:")
                section = groups[: depth + 1]
        section = groups
        line = f"{'  ' * len(groups) + leaf + ': ' + dump_value(value):<{column}}"
        lines.append(f"{line}# {comments[key]}" if comments.get(key) else line.rstrip())
    return lines


def flat(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 1}} -> {"train.lr": 1}. Lists and empty trees are values."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return leaves


class _Loader(yaml.SafeLoader):
    """YAML without its two traps: 2e-4 is a number (PyYAML reads a string), and off, on, yes and no are words."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def _load(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        hint = "brackets must be closed, and words that contain : or # or begin with a sign need 'quotes'"
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}", hint) from None


def _nested(key: str, value: Any) -> Tree:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def merged(below: Tree, above: Tree) -> Tree:
    """`above` laid over `below`, key by key."""
    tree = dict(below)
    for key, value in above.items():
        old = tree.get(key)
        tree[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return tree


def completed(saved: Tree) -> Tree:
    """A saved tree in which settings that came after its version have their defaults, but for those of models."""
    usual = {"model": {}, "data": DataSettings().model_dump(mode="json"), "train": TrainSettings().model_dump(mode="json")}
    return merged(usual, {key: value for key, value in saved.items() if value is not None})


def _in_full(above: Tree, below: Tree, usual: Tree) -> Tree:
    """`above` with words that stand for groups written out: `gan: hinge` over a group with a kind is `gan: {kind: hinge}`.

    A group that is null below starts from what is `usual`.
    """
    return {key: _value_in_full(value, below.get(key), usual.get(key)) for key, value in above.items()}


def _value_in_full(value: Any, old: Any, usual: Any) -> Any:
    if old is None and isinstance(usual, dict) and isinstance(value, dict | str):
        full = _value_in_full(value, usual, usual)
        return merged(usual, full) if isinstance(full, dict) else full
    if not isinstance(old, dict):
        return value
    if isinstance(value, str) and "kind" in old:
        return {"kind": value}
    return _in_full(value, old, usual if isinstance(usual, dict) else {}) if isinstance(value, dict) else value


def _sources(tree: Tree, source: str) -> dict[str, str]:
    return dict.fromkeys(flat(tree), source)


def _one_length(tree: Tree) -> Tree:
    """A layer that gives epochs takes back the steps of the layers below, and says so by a null."""
    train = tree.get("train")
    if isinstance(train, dict) and train.get("epochs") is not None and "steps" not in train:
        return tree | {"train": {**train, "steps": None}}
    return tree


def _require_effect(source: str, values: Tree, stages: dict[str, Tree]) -> None:
    """Raise UserError for a value that the stages of a layer below would lay their own over."""
    given = _settled({key: value for key, value in values.items() if key != STAGES})
    for name, stage in stages.items():
        own = _settled(stage)
        hidden = sorted(key for key in given if key in own or (key in LENGTHS and own & LENGTHS))
        if hidden:
            raise UserError(
                f"{source} gives {hidden[0]}, but the stage '{name}' has its own",
                f"give it to the stage: --set {STAGES}.{name}.{hidden[0]}=…",
            )


def _settled(tree: Tree) -> set[str]:
    """The settings that have a value."""
    return {key for key, value in flat(tree).items() if value is not None}


def _validated(method: str, model: type[Settings], tree: Tree, sources: dict[str, str]) -> Config:
    for key in tree:
        if key not in (*SECTIONS, STAGES, "method"):
            raise _unknown(method, key, (*SECTIONS, STAGES, "method"), sources)
    parts: dict[str, Any] = {}
    kinds: dict[str, type[BaseModel]] = dict(zip(SECTIONS, (model, DataSettings, TrainSettings), strict=True))
    for name, kind in kinds.items():
        try:
            parts[name] = kind.model_validate(tree[name])
        except ValidationError as error:
            known = [key for n, k in kinds.items() for key in _keys(k, f"{n}.")]
            raise _explained(method, name, error, known, sources) from None
    if parts["train"].epochs is None and parts["train"].steps is None:
        raise UserError("neither train.epochs nor train.steps says how long to train", "--epochs 100")
    leaves = flat({name: part.model_dump(mode="json") for name, part in parts.items()})
    stages = _checked_stages(tree.get(STAGES) or {})
    config = Config(method, stages=stages, sources={key: _source(key, sources) for key in leaves}, **parts)
    if stages:
        config.by_stage()  # every stage is checked now, not when its turn comes
    return config


def _checked_stages(stages: Any) -> dict[str, Tree]:
    """The stages, each a tree of sections that does not change what the run learns from."""
    hint = f"such as {STAGES}: {{coarse: {{train: {{epochs: 50}}}}, fine: {{train: {{epochs: 20}}}}}}"
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise UserError(f"{STAGES} must hold settings by the name of each stage", hint)
    for name, stage in stages.items():
        for key in flat(stage):
            if key.partition(".")[0] not in SECTIONS:
                raise UserError(f"there is no setting '{key}' (from stage '{name}')", hint)
            if key.partition(".")[2].partition(".")[0] in OF_THE_RUN and key.startswith("data."):
                raise UserError(f"the stage '{name}' sets {key}, which all stages of a run share", f"set {key} beside {STAGES}")
    return {str(name): _one_length(stage) for name, stage in stages.items()}


def _explained(method: str, section: str, error: ValidationError, known: list[str], sources: dict[str, str]) -> UserError:
    """The first thing that is wrong, as one sentence that names the key, its value and where it came from."""
    errors = error.errors()  # an unknown name may be why another one is missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    place = [str(part) for part in first["loc"]]
    key = ".".join([section, *place])
    if first["type"] == "extra_forbidden":
        return _unknown(method, key, known, sources)
    if first["type"] == "missing":
        lacking = f"'{place[-1]}'" if isinstance(first["loc"][-1], str) else "more values"
        hint = f"--set {key}=…" if isinstance(first["loc"][-1], str) else _listed(method)
        return UserError(f"{key.rpartition('.')[0]} is incomplete: it needs {lacking}", hint)
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should be", "must be")
    if not expected.startswith("must"):
        expected = f"is wrong: {expected}"
    return UserError(f"{key} {expected}, but {_source(key, sources)} says {first['input']!r}", _listed(method))


def _unknown(method: str, key: str, known: Sequence[str], sources: dict[str, str]) -> UserError:
    hint = _meant_key(key, known) or _listed(method)
    return UserError(f"there is no setting '{key}' (from {_source(key, sources)})", hint)


def _listed(method: str) -> str:
    return f"i2i config {method} shows every setting with its default"


def _source(key: str, sources: dict[str, str]) -> str:
    """The source of a key, or of the nearest key above or below it."""
    while key not in sources and "." in key:
        below = [source for name, source in sources.items() if name.startswith(f"{key}.")]
        if below:
            return below[0]
        key = key.rpartition(".")[0]
    return sources.get(key, next((s for name, s in sources.items() if name.startswith(f"{key}.")), "default"))


def _keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key that a group of settings has, nested ones dotted."""
    keys = []
    for name, about in kind.model_fields.items():
        keys.append(f"{prefix}{name}")
        for inner in (about.annotation, *get_args(about.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                keys += _keys(inner, f"{prefix}{name}.")
    return keys


def _meant_key(key: str, known: Sequence[str]) -> str | None:
    """The nearest name in the same group; else the same name in another one."""
    group, _, name = key.rpartition(".")
    here = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == group}
    close = nearest(name, here)
    found = here[close] if close else next((k for k in known if k.endswith(f".{name}")), None)
    return f"did you mean '{found}'?" if found else None
