"""Several processes as one trainer: started by torchrun, each rank with its own data, all with the same weights."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from i2i.errors import UserError

PATIENCE = timedelta(hours=12)
"""How long ranks wait for the first one, which may be downloading. Of a rank that has died they hear at once."""


@dataclass(frozen=True)
class Ranks:
    """Who this process is among `count`. Alone, every method does nothing."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in one flat message."""
        if self.count == 1 or not tensors:
            return
        message = torch.cat([t.detach().flatten() for t in tensors])
        with _listening():
            dist.all_reduce(message)
        message /= self.count
        for tensor, mean in zip(tensors, message.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_statistics(self, method: nn.Module) -> None:
        """Give all ranks the same batch-norm statistics, which each has estimated on its own data."""
        norms = [m for m in method.modules() if isinstance(m, nn.BatchNorm2d)]
        self.average([t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None])

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is up on at least one rank, so that all act on it at the same step."""
        if self.count == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)  # on the CPU: no wait for a GPU
        with _listening():
            dist.all_reduce(votes)
        return tuple(vote > 0 for vote in votes.tolist())

    def tell(self, make: Callable[[], str]) -> str:
        """What `make` gives on the first rank, on all of them; the others wait and do not call it.

        If it raises a `UserError`, the first rank does and the others leave quietly with the same status.
        """
        if self.count == 1:
            return make()
        made: str | UserError = ""
        if self.is_first:
            try:
                made = make()
            except UserError as error:
                made = error
        message = [made]
        with _listening():
            dist.broadcast_object_list(message, src=0)
        if isinstance(message[0], UserError):
            raise made if isinstance(made, UserError) else SystemExit(message[0].status)
        return message[0]


def join() -> Ranks:
    """Find the other ranks from the environment that torchrun sets; alone without it."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Ranks()
    if not dist.is_initialized():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local < torch.cuda.device_count():
            torch.cuda.set_device(local)
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks, for as long as the block runs."""
    try:
        yield join()
    finally:
        leave()


@contextmanager
def _listening() -> Iterator[None]:
    """Messages between ranks fail when one of them is gone, and that one has said why."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"another process of this run has ended ({str(error).splitlines()[0]})", "its own message says why"
        ) from error
