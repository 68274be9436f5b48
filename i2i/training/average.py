"""An exponential moving average of the generators' weights, as used for GANs by Karras et al. 2018 (arXiv:1710.10196)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from i2i.method import Method


class Average:
    """Shadows of the parameters of a method's generators; statistics and other buffers are copied, not averaged.

    theta' <- decay * theta' + (1 - decay) * theta after every step. Early on the decay is (1 + step)/(10 + step) at most, as in
    TensorFlow's ExponentialMovingAverage, so that the random start is forgotten. With decay 0 nothing is kept.
    """

    def __init__(self, method: Method, decay: float):
        self.method, self.decay = method, decay
        self.shadow = {name: tensor.detach().clone() for name, tensor in method.generator_weights().items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        live = self.method.generator_weights()
        averaged = [name for name, _ in self.method.named_parameters() if name in live]
        torch._foreach_lerp_([self.shadow[n] for n in averaged], [live[n] for n in averaged], 1 - decay)
        for name in self.shadow.keys() - set(averaged):
            self.shadow[name].copy_(live[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the networks hold the average; afterwards their own weights again."""
        live = self.method.generator_weights()
        kept = {name: live[name].detach().clone() for name in self.shadow}
        _copy(self.shadow, live)
        try:
            yield
        finally:
            _copy(kept, live)

    def weights(self) -> dict[str, Tensor]:
        """What `translate` uses: the average where one is kept, else the generators' own weights."""
        return self.shadow or self.method.generator_weights()

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadow

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        _copy(state, self.shadow)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
