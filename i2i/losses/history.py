"""The history of generated images that CycleGAN's discriminators learn from (Zhu et al. 2017, section 4)."""

from typing import Any

import torch
from torch import Tensor, nn

from i2i.losses import widened


class History(nn.Module):
    """Up to `size` past fakes. Each query swaps about half of the new ones for old ones, once it is full.

    After Shrivastava et al. 2017 (arXiv:1612.07828), in the form that CycleGAN published: image by image and with chance 1/2,
    not half of every batch. The images are a buffer, so a checkpoint carries them; the draws come from torch's own generator,
    which a checkpoint carries too. With size 0 every query returns its images.
    """

    images: Tensor

    def __init__(self, size: int = 50):
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    @torch.no_grad()
    def query(self, fakes: Tensor) -> Tensor:
        """fakes: (B, C, H, W) -> as many images, detached, in float32; some of them from earlier queries."""
        fakes = widened(fakes.detach())
        if self.size == 0:
            return fakes
        if self.images.shape[1:] != fakes.shape[1:]:  # the first query, or another resolution
            self.images = fakes.new_empty((0, *fakes.shape[1:]))
        return torch.stack([self._swap(fake) for fake in fakes])

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
