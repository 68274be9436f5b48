"""State dicts that others made: read from a file without running what is in it, and fitted to a method here."""

import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i.errors import UserError

Weights = dict[str, Tensor]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
WRAPPERS = ("state_dict", "model", "netG", "G", "generator", "params")
"""Under what a file may hold the weights beside other things."""


def load(file: Path) -> Weights:
    """The tensors in a file of torch, old or new, in float32 on the CPU. No code in it is ever run."""
    if not file.is_file():
        raise UserError(f"there is no file '{file}'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as those of an old format
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"cannot read '{file}': {error.strerror}") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise _refused(file, str(error)) from None
    weights = _unwrapped(file, loaded)
    if all(name.startswith("module.") for name in weights):  # of several GPUs
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return {name: tensor if name.endswith(STATISTICS[2]) else tensor.float() for name, tensor in weights.items()}


def _refused(file: Path, reason: str) -> UserError:
    if "TorchScript" in reason or re.search(r"unsupported (global|class)", reason, re.IGNORECASE):
        named = re.search(r"GLOBAL (\S+)", reason)
        what = f"more than weights ({named[1]})" if named else "more than weights"
        return UserError(
            f"'{file}' holds {what}, and to read that is to run code from the file",
            "have whoever made it save the weights alone: torch.save(network.state_dict(), FILE)",
        )
    return UserError(f"'{file}' is not a file of weights, or it is damaged", "fetch it again, and look at its size")


def _unwrapped(file: Path, loaded: Any) -> Weights:
    """The state dict, where the file is one or holds one under a name."""
    if _is_state_dict(loaded):
        return dict(loaded)
    inside = {name: value for name, value in loaded.items() if _is_state_dict(value)} if isinstance(loaded, Mapping) else {}
    named = [value for name in WRAPPERS for key, value in inside.items() if key == name]
    if not named and len(inside) != 1:
        held = f"it holds {', '.join(map(str, list(loaded)[:4]))}" if isinstance(loaded, Mapping) and loaded else None
        raise UserError(f"'{file}' does not hold the weights of one network", held)
    return dict([*named, *inside.values()][0])


def _is_state_dict(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())


def fitted(weights: Weights, own: Mapping[str, Tensor], generators: Collection[str]) -> tuple[Weights, list[str]]:
    """The weights exactly as the method's own names and shapes ask for them, and lines that say what became of the others.

    Left out: statistics of instance norms, and biases in front of a norm, which takes them away again. Added: statistics where
    a norm has none, which are not used when images are translated, and an empty memory. Discriminators that differ are left
    out. Raises UserError for a generator that differs.
    """
    taken: Weights = {}
    said: list[str] = []
    for network in dict.fromkeys(name.partition(".")[0] for name in [*own, *weights]):
        mine = {name: tensor for name, tensor in own.items() if name.startswith(f"{network}.")}
        theirs = {name: tensor for name, tensor in weights.items() if name.startswith(f"{network}.")}
        if network == "memory" and not theirs:
            theirs = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in mine.items()}
        if not theirs and network not in generators:
            continue
        theirs, lines = _fitted(theirs, mine)
        wrong = _difference(theirs, mine)
        if wrong and network in generators:
            raise UserError(f"{wrong}", "the settings that were read off the file, or those given with --set, do not fit it")
        taken |= {} if wrong else theirs
        said += [f"{network} is left out: {wrong}"] if wrong else [f"{network}: {line}" for line in lines]
    return taken, said


def _fitted(weights: Weights, own: Mapping[str, Tensor]) -> tuple[Weights, list[str]]:
    old = [name for name in weights if name not in own and name.endswith(STATISTICS)]
    useless = [name for name in weights if name not in own and name.endswith(".bias") and _norm_after(name, own)]
    missing = [name for name in own if name not in weights and name.endswith(STATISTICS)]
    kept = {name: tensor for name, tensor in weights.items() if name not in (*old, *useless)}
    for name in missing:
        kept[name] = (torch.ones if name.endswith("var") else torch.zeros)(own[name].shape, dtype=own[name].dtype)
    for name in useless:
        mean = f"{_norm_after(name, own)}.running_mean"
        kept[mean] = kept[mean] - weights[name]
    lines = {"statistics of instance norms are dropped": old, "biases in front of a norm are dropped": useless}
    lines["statistics of batch norms are not there, and not needed to translate"] = missing
    return kept, [f"{len(names)} {line}" for line, names in lines.items() if names]


def _norm_after(bias: str, own: Mapping[str, Tensor]) -> str | None:
    """The norm that follows the layer of a bias."""
    before, number, _ = bias.rsplit(".", 2)
    after = f"{before}.{int(number) + 1}" if number.isdecimal() else ""
    return after if f"{after}.running_mean" in own else None


def _difference(weights: Weights, own: Mapping[str, Tensor]) -> str | None:
    for name in own:
        if name not in weights:
            return f"the weight {name} is missing"
        if weights[name].shape != own[name].shape:
            return f"{name} is {tuple(weights[name].shape)}, and the settings make it {tuple(own[name].shape)}"
    unknown = [name for name in weights if name not in own]
    return f"{unknown[0]} has no place" if unknown else None
