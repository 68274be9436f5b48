"""Several processes as one trainer: started by torchrun, each rank with its own data, all with the same weights."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


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
        dist.all_reduce(message)
        message /= self.count
        for tensor, mean in zip(tensors, message.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_statistics(self, method: nn.Module) -> None:
        """Give all ranks the same batch-norm statistics, which each has estimated on its own data."""
        norms = [m for m in method.modules() if isinstance(m, nn.BatchNorm2d)]
        self.average([t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None])

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on at least one rank, so that all act on it at the same step."""
        if self.count == 1:
            return flag
        votes = torch.tensor(float(flag), device=_message_device())
        dist.all_reduce(votes)
        return votes.item() > 0

    def tell(self, make: Callable[[], str]) -> str:
        """What `make` gives on the first rank, on all of them; the others do not call it."""
        if self.count == 1:
            return make()
        message = [make() if self.is_first else None]
        dist.broadcast_object_list(message, src=0)
        return str(message[0])


def join() -> Ranks:
    """Find the other ranks from the environment that torchrun sets; alone without it."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Ranks()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _message_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
