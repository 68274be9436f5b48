"""From settings to a method with fresh weights, and from a run or a file of weights to a method that can translate."""

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor

from i2i import foreign, state_dicts
from i2i.config import CONFIG, Config, Layer, dump_value, flat, resolve
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.method import Method
from i2i.methods import chosen
from i2i.training import checkpoint


def method_class(name: str) -> type[Method]:
    """The class of a method. Raises UserError with the nearest name for one that does not exist."""
    module, _, kind = chosen(name).where.partition(":")
    return getattr(importlib.import_module(module), kind)


def configure(method: str, layers: list[Layer]) -> Config:
    """The settings of a method: what its paper says, and the layers over that."""
    kind = method_class(method)
    return resolve(method, kind.Config, [Layer("default", kind.defaults), *layers])


def build(config: Config) -> Method:
    """The method with freshly drawn weights; the seed decides them."""
    torch.manual_seed(config.train.seed)
    return _constructed(config)


def without_weights(config: Config) -> Method:
    """The method on torch's meta device: every shape, no number, no memory."""
    with torch.device("meta"):
        return _constructed(config)


def _constructed(config: Config) -> Method:
    assert config.data.x is not None
    assert config.data.y is not None
    return method_class(config.method)(config.model, config.data.x, config.data.y)


@dataclass(frozen=True)
class Model:
    """A trained method, ready to translate."""

    method: Method
    config: Config
    name: str
    said: tuple[str, ...] = ()
    """How a model of another program was read."""

    @property
    def x(self) -> Domain:
        assert self.config.data.x
        return self.config.data.x

    @property
    def y(self) -> Domain:
        assert self.config.data.y
        return self.config.data.y


def open_model(path: Path, device: torch.device) -> Model:
    """Open a run, a checkpoint folder, a `.safetensors` file, or a file or folder of the published programs.

    The file itself says which networks it holds, and those of other programs by the names and shapes of their weights.
    """
    config, weights, said = imported(path) if foreign.is_foreign(path) else (*_saved(_weights_file(path)), ())
    method = without_weights(config)  # none is drawn only to be thrown away
    wanted = method.generators()
    needed = {f"{name}.{key}" for name, network in wanted.items() for key in network.state_dict()}
    missing = needed - weights.keys()
    if missing:
        more = f" and {len(missing) - 1} more weights" if len(missing) > 1 else ""
        hint = "it was cut, or written by another version of i2i: take another checkpoint of the run"
        raise UserError(f"'{path}' lacks {min(missing)}{more}", hint)
    method.load_state_dict({name: weights[name] for name in needed}, strict=False, assign=True)
    for network in wanted.values():
        network.to(device)
    method.eval()
    return Model(method, config, path.resolve().stem if path.is_file() else path.resolve().name, said)


def _saved(file: Path) -> tuple[Config, dict[str, Tensor]]:
    try:
        weights, about = checkpoint.load_weights(file)
    except UserError as error:
        hint = "it was cut, or is no file of weights: copy it again, or take another checkpoint of the run"
        raise UserError(error.message, error.hint or hint) from None
    if (file.parent / checkpoint.TRAINER).exists():  # a checkpoint keeps its average beside the weights
        weights |= checkpoint.load_trainer(file.parent)["average"]
    return configure(about["config"]["method"], [Layer(f"'{file}'", about["config"])]), weights


def imported(path: Path, layers: Sequence[Layer] = ()) -> tuple[Config, dict[str, Tensor], tuple[str, ...]]:
    """What a file or folder of the published programs holds, as settings and weights of a method here.

    Also lines that say what was read off it and what is assumed. `layers` are laid over what was read off.
    """
    found = foreign.read(path)
    config = configure(found.method, [Layer(f"'{path}'", found.tree), *layers])
    method = without_weights(config)
    weights, became = state_dicts.fitted(found.weights, method.state_dict(), method.generators())
    given = [key for layer in layers for key in flat(layer.tree)]
    assumed = [f"assumed: {line}" for line in found.assumed if not any(key in line for key in given)]
    return config, weights, (*found.read, *became, *assumed)


def starting_weights(config: Config, path: Path) -> tuple[dict[str, Tensor], str]:
    """What a new run can take from a run, a checkpoint folder or a file, and a line that says what starts fresh.

    Past images of a history are not taken. Raises UserError where a weight has another shape, or nothing fits.
    """
    own = {name: tensor.shape for name, tensor in without_weights(config).state_dict().items() if "history" not in name}
    weights, hint = _stored(path, config, own)
    stored = {name: tensor for name, tensor in weights.items() if "history" not in name}
    taken = {name: tensor for name, tensor in stored.items() if name in own}
    for name, tensor in taken.items():
        if tensor.shape != own[name]:
            raise UserError(
                f"{name} is {tuple(tensor.shape)} in '{path}' and {tuple(own[name])} in the new run",
                f"train with the settings of that model: {hint}" if hint else None,
            )
    if not taken:
        held = ", ".join(sorted({name.split(".")[0] for name in stored}))
        theirs = f", made with {hint}" if foreign.is_foreign(path) and hint else ""
        raise UserError(f"nothing in '{path}' fits {config.method}", f"it holds {held}{theirs}")
    fresh = _grouped([name for name in own if name not in taken], taken)
    unused = _grouped([name for name in stored if name not in own], own)
    return taken, (
        f"starting from '{path}'" + (f"; fresh: {fresh}" if fresh else "") + (f"; not used: {unused}" if unused else "")
    )  # fmt: skip


def _stored(path: Path, config: Config, own: dict[str, torch.Size]) -> tuple[dict[str, Tensor], str]:
    """The weights of a run or a file, and the options that give a new run its settings.

    Of another program's model the discriminators are only there if they fit.
    """
    if not foreign.is_foreign(path):
        settings = path / CONFIG
        options = f"--config {quote(str(settings))}" if settings.exists() else ""
        return checkpoint.load_weights(_weights_file(path))[0], options
    theirs, weights, _ = imported(path)
    needed = without_weights(theirs).generators().keys() - {"memory"}
    misfits = {name.partition(".")[0] for name, tensor in weights.items() if tensor.shape != own.get(name)} - needed
    ours = flat(config.tree()["model"].get("generator", {}))
    differing = {key: value for key, value in flat(theirs.tree()["model"]["generator"]).items() if ours.get(key) != value}
    options = " ".join(f"--set model.generator.{key}={dump_value(value)}" for key, value in differing.items())
    return {name: tensor for name, tensor in weights.items() if name.partition(".")[0] not in misfits}, options


def _grouped(names: list[str], others: Collection[str]) -> str:
    """Names of weights, those of a network none of whose weights is among `others` by the network's name alone."""
    networks = {name.partition(".")[0] for name in others}
    whole = sorted({name.partition(".")[0] for name in names} - networks)
    single = [name for name in names if name.partition(".")[0] in networks]
    return ", ".join([*whole, *single[:1]]) + (f" and {len(single) - 1} more" if len(single) > 1 else "")


def _weights_file(path: Path) -> Path:
    file = path / checkpoint.MODEL if path.is_dir() else path
    if not file.is_file():
        hint = (
            f"it was not saved yet: i2i resume {quote(str(path))}"
            if (path / CONFIG).exists()
            else "a run, a checkpoint folder, a .safetensors or a .pth file"
        )
        raise UserError(f"there is no model in '{path}'", hint)
    return file
