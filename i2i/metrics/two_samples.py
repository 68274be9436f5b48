"""Tests that ask whether two sets are samples of one distribution. Vectors: (n, d)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from i2i.metrics.distributions import ROWS, evenly, squared_distances

FOLDS, EPOCHS, BATCH = 5, 12, 32
MOST = 2000
"""Vectors whose distances are all computed: of larger sets so many, evenly spread."""


class Neighbours(NamedTuple):
    """How often the nearest other vector is of the same set: over both sets, and of each."""

    accuracy: float
    fake: float
    real: float


def nearest_neighbours(fake: Tensor, real: Tensor) -> Neighbours:
    """The leave-one-out 1-NN test (Lopez-Paz and Oquab 2017, arXiv:1610.06545; Xu et al. 2018, arXiv:1806.07755).

    Around 0.5 for one distribution, 1 where the sets can be told apart, 0 where one is a copy of the other. Of the larger set
    as many are compared as the smaller one has, evenly spread: of two of one distribution the larger is near more often.
    """
    n = min(len(fake), len(real))
    both = torch.cat([evenly(fake, n), evenly(real, n)]).flatten(1).double()
    both = both - both.mean(0)
    nearest = []
    for first, rows in zip(range(0, 2 * n, ROWS), both.split(ROWS), strict=True):
        distance = squared_distances(rows, both)
        distance[range(len(rows)), range(first, first + len(rows))] = math.inf
        nearest.append(distance.argmin(1))
    share = ((torch.cat(nearest) < n) == (torch.arange(2 * n) < n)).double()
    return Neighbours(float(share.mean()), float(share[:n].mean()), float(share[n:].mean()))


class Classified(NamedTuple):
    """The accuracy on images that the classifier did not learn from, and how likely so much is by chance."""

    accuracy: float
    p: float


def classifier_test(fake: Tensor, real: Tensor, seed: int = 0) -> Classified:
    """Lopez-Paz and Oquab 2017, section 3: a small CNN, each fifth judged by one that learned from the other four.

    Images: (n, C, side, side) uint8, both sets cut alike. Of one distribution the accuracy is about normal, with mean 1/2 and
    variance 1 / (4 n) over the n images of both sets.
    """
    n = min(len(fake), len(real))
    images = torch.cat([evenly(fake, n), evenly(real, n)])
    labels = (torch.arange(2 * n, device=images.device) < n).float()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # its draws are its own, whatever others draw
        torch.manual_seed(seed)
        order = torch.randperm(n)
        right = 0
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            test = torch.cat([held, held + n])  # as many of each set
            train = torch.ones(2 * n, dtype=torch.bool).index_fill_(0, test, False).nonzero()[:, 0]
            network = _learned(images, labels, train)
            right += int(((_scores(network, images[test]) > 0) == (labels[test] > 0.5)).sum())
    accuracy = right / (2 * n)
    return Classified(accuracy, chance(accuracy, 2 * n))


def chance(accuracy: float, n: int) -> float:
    """How likely so much or more of `n` images is right where nothing is to be learned."""
    return math.erfc((accuracy - 0.5) * math.sqrt(2 * n)) / 2


def _learned(images: Tensor, labels: Tensor, train: Tensor) -> nn.Module:
    channels = images.shape[1]
    network = nn.Sequential(
        *_layer(channels, 16), *_layer(16, 32), *_layer(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1)
    ).to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            x = _scaled(images[batch])
            x = x.flip(3) if torch.rand(()) < 0.5 else x
            loss = binary_cross_entropy_with_logits(network(x)[:, 0], labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def _layer(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]


@torch.no_grad()
def _scores(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(_scaled(batch))[:, 0] for batch in images.split(256)])


def _scaled(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


class Birthday(NamedTuple):
    """The share of batches that hold two vectors which are nearly one, and the size of the batches."""

    share: float
    size: int


def birthday(fake: Tensor, real: Tensor, batches: int = 200, seed: int = 0) -> Birthday:
    """Arora et al. 2018 (arXiv:1706.08224): a share of 1/2 in batches of s says that there are about s^2 different outputs.

    There a person judges the closest pairs; here two are nearly one if they are less than half as far apart as a real vector
    usually (in the median) is from the one next to it. Batches are half of the fake set, 200 at most.
    """
    limit = _pairwise(real).amin(1).median() / 2**2
    distance = _pairwise(fake)
    size = min(len(distance) // 2, 200)
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randperm(len(distance), generator=generator)[:size] for _ in range(batches))
    hits = sum(bool((distance[some][:, some] < limit).any()) for some in drawn)
    return Birthday(hits / batches, size)


def _pairwise(x: Tensor) -> Tensor:
    """(n, n) squared distances, infinite from each vector to itself, of `MOST` at most."""
    flat = evenly(x, min(len(x), MOST)).flatten(1).double()
    distance = squared_distances(flat - flat.mean(0), flat - flat.mean(0))
    return distance.fill_diagonal_(math.inf)


def diversity(x: Tensor) -> float:
    """The root mean square difference of two vectors, mean over all pairs."""
    distance = _pairwise(x)
    between = distance[distance.isfinite()]
    return float((between / x[0].numel()).sqrt().mean())
