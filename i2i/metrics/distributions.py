"""Two sets of feature vectors as samples of two distributions. Vectors: (n, d); everything is computed in float64."""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 2048
"""Rows of a distance or kernel matrix that are in memory at once."""


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Heusel et al. 2017 (arXiv:1706.08500), eq. 6: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), of two Gaussians.

    With centred samples A and B, C = A'A / (n - 1), and the trace of the root is the sum of the singular values of A B',
    divided by the roots of n - 1: no matrix root, nothing of size d where n is smaller, and exactly 0 for equal sets.
    """
    if a.shape == b.shape and torch.equal(a, b):
        return 0.0
    a, b = a.double(), b.double()
    centred_a, centred_b = (a - a.mean(0)) / (len(a) - 1) ** 0.5, (b - b.mean(0)) / (len(b) - 1) ** 0.5
    means = (a.mean(0) - b.mean(0)).square().sum()
    traces = centred_a.square().sum() + centred_b.square().sum()
    root = torch.linalg.svdvals(_squeezed(centred_a) @ _squeezed(centred_b).T).sum()
    return float(means + traces - 2 * root)


def _squeezed(x: Tensor) -> Tensor:
    """At most d rows with the same x'x."""
    return torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x


def evenly(x: Tensor, n: int) -> Tensor:
    """`n` rows, spread evenly over all: of a set that is in some order, such as by class, as much from each part of it."""
    return x[torch.arange(n) * len(x) // n]


class Estimate(NamedTuple):
    """A number, and the standard deviation that it would have on sets of `size`."""

    value: float
    deviation: float
    size: int


def kernel_distance(a: Tensor, b: Tensor, subsets: int = 100, seed: int = 0) -> Estimate:
    """Binkowski et al. 2018 (arXiv:1801.01401), eq. 4: the unbiased squared MMD with the kernel (x'y / d + 1)^3.

    The value is that of the whole sets; the deviation is over random halves of them, of 1,000 at most.
    """
    a, b = a.double(), b.double()
    size = min(len(a) // 2, len(b) // 2, 1000)
    generator = torch.Generator().manual_seed(seed)
    draws = [
        _mmd(a[_some(len(a), size, generator)], b[_some(len(b), size, generator)]) for _ in range(subsets if size > 1 else 0)
    ]
    deviation = float(torch.tensor(draws, dtype=torch.float64).std()) if draws else float("nan")
    return Estimate(_mmd(a, b), deviation, size)


def _some(n: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[:size]


def _mmd(a: Tensor, b: Tensor) -> float:
    within = [(_kernels(x, x) - _kernel(x, x, diagonal=True)) / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(sum(within) - 2 * _kernels(a, b) / (len(a) * len(b)))


def _kernels(a: Tensor, b: Tensor) -> Tensor:
    """The sum over all pairs."""
    return torch.stack([_kernel(rows, b) for rows in a.split(ROWS)]).sum()


def _kernel(a: Tensor, b: Tensor, *, diagonal: bool = False) -> Tensor:
    products = (a * b).sum(1) if diagonal else a @ b.T
    return ((products / a.shape[1] + 1) ** 3).sum()


class Manifolds(NamedTuple):
    """How two sets lie in each other."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(fake: Tensor, real: Tensor, k: int = 3, k_density: int = 5) -> Manifolds:
    """Balls around each vector, as large as the way to its k-th neighbour in its own set, stand for where a set lies.

    Precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991), eq. 1 to 3; density and coverage: Naeem et al. 2020
    (arXiv:2002.09797), eq. 5 and 6; k as these advise. Of two sets of one distribution they are not 1.
    """
    fake, real = _shared_origin(fake, real)
    real_balls, fake_balls, wide_balls = radii(real, k), radii(fake, k), radii(real, k_density)
    inside, covers, filled, covered = [], [], [], []
    for rows, wide in zip(real.split(ROWS), wide_balls.split(ROWS), strict=True):
        d = squared_distances(rows, fake)
        covers.append((d < fake_balls).any(1))
        filled.append((d < wide[:, None]).sum(0))
        covered.append(d.amin(1) < wide)
    for rows in fake.split(ROWS):
        inside.append((squared_distances(rows, real) < real_balls).any(1))
    return Manifolds(
        precision=float(torch.cat(inside).double().mean()),
        recall=float(torch.cat(covers).double().mean()),
        density=float(torch.stack(filled).sum(0).double().mean() / k_density),
        coverage=float(torch.cat(covered).double().mean()),
    )


def radii(x: Tensor, k: int) -> Tensor:
    """(n,) the squared distance of each vector to its k-th neighbour."""
    return torch.cat([squared_distances(rows, x).kthvalue(k + 1, dim=1).values for rows in x.split(ROWS)])


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, d), (m, d) float64 -> (n, m)."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)


def _shared_origin(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both less their common mean: it changes no distance, and keeps the digits of small ones."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    mean = torch.cat([a, b]).mean(0)
    return a - mean, b - mean
