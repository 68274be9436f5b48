"""An exponential moving average of the generators' weights (Karras et al. 2018, arXiv:1710.10196, section 7.2 of its code)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Shadows of the floating parameters of some networks; statistics and other buffers are copied, not averaged.

    theta' <- decay * theta' + (1 - decay) * theta after every step. Early on the decay is (1 + step)/(10 + step) at most, so
    that the random start is forgotten. With decay 0 the average is the weights themselves, and nothing is kept.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float):
        self.networks, self.decay = networks, decay
        self.shadow = {name: tensor.detach().clone() for name, tensor in self._live().items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        live = self._live()
        averaged = [name for name, _ in self._parameters()]
        torch._foreach_lerp_([self.shadow[n] for n in averaged], [live[n] for n in averaged], 1 - decay)
        for name in self.shadow.keys() - set(averaged):
            self.shadow[name].copy_(live[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the networks hold the average; afterwards their own weights again."""
        live = self._live()
        kept = {name: live[name].detach().clone() for name in self.shadow}
        _copy(self.shadow, live)
        try:
            yield
        finally:
            _copy(kept, live)

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadow

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        _copy(state, self.shadow)

    def _live(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": t for name, network in self.networks.items() for key, t in network.state_dict().items()}

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(f"{name}.{key}", p) for name, network in self.networks.items() for key, p in network.named_parameters()]


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
