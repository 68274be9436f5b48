"""Several images from one pass, of which only the best counts (Chen and Koltun 2017, arXiv:1707.09405)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from i2i.losses import widened


def class_errors(maps: Mapping[str, Tensor], weights: Mapping[str, float | Tensor], masks: Tensor) -> Tensor:
    """E[u, p] = sum_l lambda_l mean(M_p^l * d_l[u]): how far image u is from the target where class p is.

    maps: for each tap l the distances d_l, (B, k, h, w); masks M: (B, P, H, W), which sum to 1 at each pixel. A mask is
    shrunk to the size of a tap by areas, so that it is soft at its borders. Returns (B, k, P).
    """
    return torch.stack([weights[tap] * _within(widened(d), masks) for tap, d in maps.items()]).sum(0)


def _within(distances: Tensor, masks: Tensor) -> Tensor:
    """(B, k, h, w) and (B, P, H, W) -> (B, k, P), means over all h * w pixels, those outside of the mask counting as 0."""
    smaller = interpolate(widened(masks), size=distances.shape[2:], mode="area")
    with torch.autocast(distances.device.type, enabled=False):
        return distances.flatten(2) @ smaller.flatten(2).mT / distances[0, 0].numel()


def hindsight(errors: Tensor, alpha: float = 0.999) -> Tensor:
    """sum_p [alpha min_u E[u, p] + (1 - alpha) mean_u E[u, p]]; errors E: (B, k, P), the mean over B is returned.

    Each class may have its best image u, whatever is best elsewhere. The mean, which the published code has, keeps images alive
    that are never best. With one image the sum is the plain loss, whatever the masks.
    """
    return (alpha * errors.amin(1) + (1 - alpha) * errors.mean(1)).sum(1).mean()
