"""Things in an image, told apart by ids: their boundaries, the mean over each of them, and a memory of what they are like."""

from typing import Any

import torch
from torch import Tensor, nn


def boundaries(instances: Tensor) -> Tensor:
    """(B, 1, H, W) ids -> (B, 1, H, W) bool: a 4-neighbour has another id (Wang et al. 2018, section 3.3)."""
    edge = torch.zeros_like(instances, dtype=torch.bool)
    across, down = instances[..., 1:] != instances[..., :-1], instances[..., 1:, :] != instances[..., :-1, :]
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge


def segments(instances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number the things of a batch of (B, 1, H, W) ids from 0; things of two images are two things.

    Returns the number at each pixel (B * H * W,), and for each thing its size in pixels and its first pixel.
    """
    ids = instances.flatten(1).long()
    ids = ids - ids.min()
    apart = ids + torch.arange(len(ids), device=ids.device)[:, None] * (ids.max() + 1)
    _, number, size = torch.unique(apart, return_inverse=True, return_counts=True)
    number = number.flatten()
    pixels = torch.arange(len(number), device=ids.device)
    first = torch.full_like(size, len(number)).scatter_reduce(0, number, pixels, "amin")
    return number, size, first


def instance_mean(features: Tensor, instances: Tensor) -> Tensor:
    """Every pixel gets the mean over its thing (Wang et al. 2018, section 3.4); gradients flow through it.

    features: (B, C, H, W) · instances: (B, 1, H, W) ids -> as features, in float32 at least.
    """
    number, size, _ = segments(instances)
    values = features.to(torch.promote_types(features.dtype, torch.float32)).movedim(1, -1)
    flat = values.flatten(0, 2)
    total = flat.new_zeros(len(size), flat.shape[1]).index_add(0, number, flat)
    mean = total / size[:, None].to(total)
    return mean[number].view_as(values).movedim(-1, 1)


def kinds(points: Tensor, count: int, rounds: int = 100) -> Tensor:
    """k-means (Lloyd): points (N, C), N > 0 -> up to `count` centres (K, C), that of the most points first.

    Nothing is drawn: the first centre is the point nearest to the mean, each further one the point farthest from all centres.
    There are never more centres than different points.
    """
    centres = points[_squared(points, points.mean(0, keepdim=True)).argmin(0)]
    while len(centres) < count:
        distance, farthest = _squared(points, centres).amin(1).max(0)
        if distance == 0:
            break
        centres = torch.cat([centres, points[farthest][None]])
    for _ in range(rounds):
        nearest = _squared(points, centres).argmin(1)
        members = torch.bincount(nearest, minlength=len(centres))
        total = torch.zeros_like(centres).index_add(0, nearest, points)
        moved = torch.where(members[:, None] > 0, total / members.clamp(min=1)[:, None], centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres[members.argsort(descending=True, stable=True)]


class FeatureMemory(nn.Module):
    """The latest features of the things of each label, with the share of its image that each covers: up to `size` a label.

    Buffers, so that whatever holds the weights holds them too. Each is what E saw in the step that met the thing; the published
    code encodes the whole data again after training.
    """

    features: Tensor
    shares: Tensor
    written: Tensor

    def __init__(self, labels: int, channels: int, size: int = 100):
        super().__init__()
        self.register_buffer("features", torch.zeros(labels, size, channels))
        self.register_buffer("shares", torch.zeros(labels, size))  # 0: nothing there yet
        self.register_buffer("written", torch.zeros(labels, dtype=torch.int64))
        self._found: dict[int, list[Tensor]] = {}

    @torch.no_grad()
    def remember(self, features: Tensor, things: Tensor, labels: Tensor) -> None:
        """features: (B, C, H, W), constant over each thing · things, labels: (B, 1, H, W) ids. The oldest give way."""
        self._found = {}
        _, size, first = segments(things)
        vectors, found = features.movedim(1, -1).flatten(0, 2)[first], labels.flatten()[first]
        shares, capacity = size / things[0].numel(), self.shares.shape[1]
        for label in found.unique().tolist():
            these = (found == label).nonzero().flatten()[:capacity]
            slots = (self.written[label] + torch.arange(len(these), device=these.device)) % capacity
            self.features[label, slots] = vectors[these].to(self.features)
            self.shares[label, slots] = shares[these].to(self.shares)
            self.written[label] += len(these)

    def kinds(self, count: int) -> list[Tensor]:
        """For each label up to `count` kinds of its things, (K, C), the most common first; they are looked for once.

        As published, things of more than 1/64 of their image decide; where a label has none, all of it do; where nothing has
        that label, it is the mean of everything, and zero before anything was seen.
        """
        if count not in self._found:
            self._found[count] = self._kinds(count)
        return self._found[count]

    def _kinds(self, count: int) -> list[Tensor]:
        seen = self.shares > 0
        everything = self.features[seen].mean(0, keepdim=True) if seen.any() else torch.zeros_like(self.features[0, :1])
        found = []
        for vectors, shares in zip(self.features, self.shares, strict=True):
            large = shares > 1 / 64
            chosen = vectors[large if large.any() else shares > 0]
            found.append(kinds(chosen, count) if len(chosen) else everything)
        return found

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._found = {}
        super()._load_from_state_dict(*arguments)


def _squared(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances, (N, C) and (K, C) -> (N, K)."""
    return (points[:, None] - centres).square().sum(-1)
