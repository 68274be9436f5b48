"""What a method is: the contract between the papers in `methods/` and the referee in `training/`, who never meet."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from i2i.settings import Settings

Sheet = dict[str, Tensor]
"""What one step or one preview looked at, by name: each (B, C, H, W) in [-1, 1]. The order is the order on the sample sheet."""


class Update(Protocol):
    """One optimizer step for exactly the named players, on the sum of the losses."""

    def __call__(self, *players: str, **losses: Tensor) -> None: ...


@dataclass(frozen=True)
class Accepts:
    """What a generator can take, so that any image can be padded for it without knowing the network.

    Both sides must be multiples of `stride` and at least `smallest` pixels. `halo` is the distance in pixels beyond which an
    input pixel cannot influence an output pixel, norm statistics aside; None where every pixel can see the whole image.
    """

    stride: int
    smallest: int
    halo: int | None


class Method(nn.Module):
    """One paper: its networks, who plays, one step, and how to translate.

    A method never sees an optimizer, scheduler, device, rank, autocast, path, logger or argument parser. Its state dict holds
    everything that it learned or remembers; `requires_grad` is never touched. x is the input side and y the output side.
    """

    Config: ClassVar[type[Settings]]
    data: ClassVar[str]
    """The kind of data it learns from: "paired" or "unpaired"."""
    reversible: ClassVar[bool] = False
    """Whether `translate` can also go from y to x."""

    def __init__(self, config: Settings, x_channels: int = 3, y_channels: int = 3):
        super().__init__()

    def players(self) -> dict[str, list[nn.Module]]:
        """Who takes optimizer steps: the networks behind each name that `step` gives to `update`."""
        raise NotImplementedError

    def generators(self) -> dict[str, nn.Module]:
        """What `translate` needs, under its attribute name: this is averaged, exported, and loaded to translate."""
        raise NotImplementedError

    def generator_weights(self) -> dict[str, Tensor]:
        """The state dict of the generators alone, with the same keys as in the whole."""
        return {f"{name}.{key}": t for name, network in self.generators().items() for key, t in network.state_dict().items()}

    def step(self, batch: Any, update: Update) -> Sheet:
        """Learn from one batch. The order of the lines is the algorithm; the keywords of `update` are the names in the log.

        What it looked at is returned for whoever inspects a step, such as the replay of a trace.
        """
        raise NotImplementedError

    def sheet(self, batch: Any) -> Sheet:
        """Show what the generators make of one batch, without learning."""
        raise NotImplementedError

    def translate(self, x: Tensor, *, reverse: bool = False) -> Tensor:
        """x: (B, x_channels, H, W) in [-1, 1], sides as in `accepts` -> (B, y_channels, H, W) in [-1, 1].

        Each image is translated as if it were alone in its batch. `reverse` goes from y to x.
        """
        raise NotImplementedError

    def accepts(self) -> Accepts:
        """What `translate` can take, in both directions."""
        raise NotImplementedError

    def smallest_crop(self) -> int:
        """The smallest side in pixels that a training crop can have."""
        raise NotImplementedError
