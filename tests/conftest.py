"""What all tests share: one thread, and the smallest method of each kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i.config import Layer
from i2i.method import Method
from i2i.models import configure, method_class

torch.set_num_threads(1)

TINY = {
    "pix2pix": {"generator": {"depth": 3, "width": 4}, "discriminator": {"layers": 1, "width": 4}},
    "cyclegan": {"generator": {"blocks": 1, "width": 4}, "discriminator": {"layers": 1, "width": 4}, "history": 3},
}


@pytest.fixture
def tiny() -> Callable[..., Method]:
    """`tiny("pix2pix", x_channels=1, gan="hinge", generator={...})`: a method with very small networks, seeded."""

    def build(name: str, *, x_channels: int = 3, y_channels: int = 3, seed: int = 0, **model: Any) -> Method:
        config = configure(name, [Layer("tiny", {"model": TINY[name]}), Layer("the test", {"model": model})])
        torch.manual_seed(seed)
        return method_class(name)(config.model, x_channels, y_channels)

    return build


@pytest.fixture
def pair() -> Callable[..., tuple[Tensor, Tensor]]:
    """`pair(batch=2)`: an input and a target in [-1, 1], seeded, each (B, channels, 16, 16)."""

    def draw(*, batch: int = 1, x_channels: int = 3, y_channels: int = 3, size: int = 16, seed: int = 1):
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.rand(batch, c, size, size, generator=generator) * 2 - 1 for c in (x_channels, y_channels))

    return draw


@pytest.fixture
def recording() -> type:
    """`recording()`: an update for `step` that only writes down who plays and what is paid."""
    return Recording


class Recording:
    """Changes nothing; `calls` are players and names in their order, `losses` the values as "player/name"."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], list[str]]] = []
        self.losses: dict[str, Tensor] = {}

    def __call__(self, *players: str, **losses: Tensor) -> None:
        self.calls.append((players, list(losses)))
        self.losses |= {f"{'+'.join(players)}/{name}": loss for name, loss in losses.items()}
