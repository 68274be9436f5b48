"""The history of generated images that discriminators learn from, in its two published forms: SimGAN's and CycleGAN's."""

from typing import Any

import torch
from torch import Tensor, nn

from i2i.losses import widened


class History(nn.Module):
    """Up to `size` past fakes, so that D does not forget what it was shown before.

    `mixed` puts old fakes into half of each batch (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3); `query` swaps image
    by image with chance 1/2 (Zhu et al. 2017, arXiv:1703.10593, section 4, as in its code). The images are a buffer, so a
    checkpoint carries them; the draws come from torch's own generator, which a checkpoint carries too. With size 0 both return
    the new fakes.
    """

    images: Tensor

    def __init__(self, size: int = 50):
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    @torch.no_grad()
    def query(self, fakes: Tensor) -> Tensor:
        """fakes: (B, C, H, W) -> as many images, detached, in float32; once full, about half of them from earlier queries."""
        fakes = self._fitted(fakes)
        return torch.stack([self._swap(fake) for fake in fakes]) if self.size else fakes

    @torch.no_grad()
    def mixed(self, fakes: Tensor) -> Tensor:
        """fakes: (B, C, H, W) -> as many images, detached, in float32: B - B//2 of them and B//2 older ones, once it has any.

        Then B//2 of the fakes are stored, in random places once it is full. A batch of one has no half: `query` swaps it.
        """
        half = min(len(fakes) // 2, self.size)
        if half == 0:
            return self.query(fakes)
        fakes = self._fitted(fakes)
        shown = fakes
        if len(self.images) >= half:
            shown = torch.cat([fakes[: len(fakes) - half], self.images[torch.randperm(len(self.images))[:half]]])
        self._store(fakes[:half])
        return shown

    def _fitted(self, fakes: Tensor) -> Tensor:
        """The fakes as they are stored. The first ones, or those of another resolution, start the history anew."""
        fakes = widened(fakes.detach())
        if self.size and self.images.shape[1:] != fakes.shape[1:]:
            self.images = fakes.new_empty((0, *fakes.shape[1:]))
        return fakes

    def _store(self, fakes: Tensor) -> None:
        """Append until it is full; what is left replaces random ones, each of them once."""
        room = self.size - len(self.images)
        if room:
            self.images = torch.cat([self.images, fakes[:room]])
        if len(fakes) > room:
            self.images[torch.randperm(self.size)[: len(fakes) - room]] = fakes[room:]

    def _swap(self, fake: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images = torch.cat([self.images, fake[None]])
            return fake
        if torch.rand(()) > 0.5:
            slot = int(torch.randint(self.size, ()))
            old = self.images[slot].clone()
            self.images[slot] = fake
            return old
        return fake

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take stored images of any number and size: only a run that has queried knows them."""
        stored = state.get(prefix + "images")
        if stored is not None:
            self.images = self.images.new_empty(stored.shape)
        super()._load_from_state_dict(state, prefix, *rest)
