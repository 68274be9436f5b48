"""What a method is: the contract between the papers in `methods/` and the referee in `training/`, who never meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from i2i.domain import Domain
from i2i.errors import UserError
from i2i.settings import Settings

Sheet = dict[str, Tensor]
"""What one step or one preview looked at, by name: each (B, C, H, W) in [-1, 1]. The order is the order on the sample sheet."""

Style = Tensor
"""What decides among the outputs that one input can have. What is in it is the method's own business."""


class Batch(NamedTuple):
    """What a step learns from. x and y: (B, C, H, W) in [-1, 1]; a label map comes one-hot, in {0, 1}, a channel a class.

    What comes beside them is there for a method that `reads` it, where the data has it: `instances` (B, 1, H, W) int64, the
    ids of single things; `region` (B, 1, H, W) in [0, 1], where it matters most.
    """

    x: Tensor
    y: Tensor
    instances: Tensor | None = None
    region: Tensor | None = None


class Update(Protocol):
    """One optimizer step for exactly the named players, on the sum of the losses.

    It carries the clock of the stage: the whole steps and the epochs that were done before this one.
    """

    step: int
    epoch: float

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
    scenes: ClassVar[str | None] = None
    """Which of the built-in scenes suit it best: "labels" or "simreal"; None: those of its kind of data."""
    defaults: ClassVar[dict[str, dict[str, Any]]] = {}
    """Where the paper trains otherwise than most: its values for the settings of data and train."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """What it can use of a `Batch` beside x and y."""
    reversible: ClassVar[bool] = False
    """Whether `translate` can also go from y to x."""
    keeps_annotations: ClassVar[bool] = False
    """Whether outputs show the same things in the same places, so that what was noted about an input holds for its output."""

    def __init__(self, config: Settings, x: Domain, y: Domain):
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

    def require(self) -> None:
        """Raise UserError where something that only training needs is not there, such as the weights of a feature network."""

    def step(self, batch: Batch, update: Update) -> Sheet:
        """Learn from one batch. The order of the lines is the algorithm; the keywords of `update` are the names in the log.

        What it looked at is returned for whoever inspects a step, such as the replay of a trace.
        """
        raise NotImplementedError

    def sheet(self, batch: Batch) -> Sheet:
        """Show what the generators make of one batch, without learning. The same batch gives the same sheet."""
        raise NotImplementedError

    def translate(
        self, x: Tensor, *, reverse: bool = False, instances: Tensor | None = None, style: Style | None = None
    ) -> Tensor:
        """x: (B, x.channels, H, W) as in a `Batch`, sides as in `accepts` -> (B, y.channels, H, W) in [-1, 1].

        Each image is translated as if it were alone in its batch. `reverse` goes from y to x; `instances` are those of a
        `Batch`. Without a `style` the method takes its own most typical one.
        """
        raise NotImplementedError

    def accepts(self) -> Accepts:
        """What `translate` can take, in both directions."""
        raise NotImplementedError

    def smallest_crop(self) -> int:
        """The smallest side in pixels that a training crop can have."""
        raise NotImplementedError

    def crop_stride(self) -> int:
        """What the sides of a training crop must be multiples of."""
        return self.accepts().stride

    # Styles, for a method with many outputs for one input

    def draw_styles(self, count: int, seed: int) -> list[Style]:
        """`count` styles, the same for the same seed. Raises UserError where one input has one output."""
        raise UserError(
            "this model makes one output of an input: it has no styles",
            "bicyclegan and crn have them, pix2pix with model.z, pix2pixhd with model.features; or --noise on",
        )

    def choose_style(self, choices: Mapping[int, int]) -> Style:
        """The style in which things of a label look like one of its kinds. Raises UserError for what it does not have."""
        raise UserError("the labels of this model have no kinds to choose from", "those of pix2pixhd with model.features have")

    def encode_style(self, y: Tensor) -> Style:
        """y: (1, C, H, W) -> the style of an image of the output side. Raises UserError where there is no way to tell."""
        raise UserError("this model cannot take its style from an image", "bicyclegan can, and pix2pixhd with model.features")

    def mix_styles(self, a: Style, b: Style, share: float) -> Style:
        """From a (share 0) to b (share 1). Raises UserError where styles have no between."""
        raise UserError("the styles of this model have no between", "those of bicyclegan have, and of pix2pix with model.z")

    def samples(
        self, x: Tensor, styles: Sequence[Style | None], *, reverse: bool = False, instances: Tensor | None = None
    ) -> list[Tensor]:
        """`translate` once for each style. A method that makes all outputs in one pass does so here."""
        return [self.translate(x, reverse=reverse, instances=instances, style=style) for style in styles]
