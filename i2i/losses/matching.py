"""Losses that compare two images."""

from torch import Tensor
from torch.nn.functional import l1_loss

from i2i.losses import widened


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two (B, C, H, W), in float32."""
    return l1_loss(widened(a), widened(b))
