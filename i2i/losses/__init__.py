"""Losses. Each returns a scalar and computes in float32 at least, whatever precision its inputs come in."""

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """x in float32 where it is narrower: a mean over half-precision numbers loses most of its digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
