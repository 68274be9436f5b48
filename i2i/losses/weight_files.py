"""Files of published weights: whether they are whole, and the tensors in them. No code in them is ever run."""

import hashlib
import re
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from i2i.errors import UserError


def published(network: str) -> str:
    """The address of the weights that torchvision has for a network of that name."""
    from torchvision.models import get_model_weights  # slow to import, and most runs do without

    return next(iter(get_model_weights(network))).url


def read_tensors(file: Path, hint: str) -> dict[str, Tensor]:
    """Every tensor in a .pth or .safetensors file. Raises UserError with the hint for what is damaged, or is none."""
    try:
        as_named = is_as_named(file)
        stored = _tensors(file) if as_named else {}
    except Exception as error:  # torch raises many kinds for a damaged file, an old pickle or a web page
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "it is no file of weights, or a damaged one"
        )
        raise UserError(f"cannot read '{file}': {reason}", hint) from None
    if not as_named:
        raise UserError(f"'{file}' is damaged: its SHA-256 does not begin as its name says", "fetch it again")
    return stored


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def is_as_named(file: Path) -> bool:
    """Whether the content fits the 8 digits that torchvision puts into the names of its files, as in vgg19-dcbb9e9d.pth."""
    digits = re.search(r"-([0-9a-f]{8})$", file.stem)
    return digits is None or sha256(file).startswith(digits[1])


def sha256(file: Path) -> str:
    """Of the content, which is read once: the files have hundreds of megabytes."""
    about = file.stat()
    return _sha256(file.resolve(), about.st_size, about.st_mtime_ns)


@cache
def _sha256(file: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
