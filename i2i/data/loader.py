"""The endless, resumable loader: batch n is made of samples whose numbers follow from n, so its only state is a number."""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2i.data.samples import Sample, Samples


class Batch(NamedTuple):
    """Some samples, each side one tensor (B, H, W, C), in the dtype of a `Sample`."""

    x: Tensor
    y: Tensor
    instances: Tensor | None = None
    region: Tensor | None = None


def batch_numbers(step: int, size: int, rank: int = 0, ranks: int = 1) -> range:
    """The samples of one rank's batch: together the ranks take `size * ranks` consecutive samples a step, none twice."""
    start = (step * ranks + rank) * size
    return range(start, start + size)


def collate(samples: Sequence[Sample]) -> Batch:
    """One tensor (B, H, W, C) for each field that the samples have."""
    fields = zip(*samples, strict=True)
    return Batch._make(None if field[0] is None else torch.from_numpy(np.stack(field)) for field in fields)


def batches(
    samples: Samples, size: int, start: int, *, rank: int = 0, ranks: int = 1, workers: int = 0
) -> Generator[Batch, None, None]:
    """The batches of step `start`, `start` + 1, ... without end.

    Workers are threads: decoding and resizing release Python's lock, nothing is copied between processes, and whatever their
    number the batches are the same. Close the iterator (or drop it) to stop them.
    """

    def batch(step: int) -> Batch:
        return collate([samples[number] for number in batch_numbers(step, size, rank, ranks)])

    step = start
    if workers == 0:
        while True:
            yield batch(step)
            step += 1
    pool = ThreadPoolExecutor(workers, thread_name_prefix="i2i-loader")
    try:
        ahead: deque[Future[Batch]] = deque(pool.submit(batch, step + i) for i in range(2 * workers))
        while True:
            step += 1
            done = ahead.popleft()
            ahead.append(pool.submit(batch, step + len(ahead)))
            yield done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
