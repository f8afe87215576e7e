"""The workers that train together, as one of them sees it: alone, or one rank of a process group."""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


@dataclass(frozen=True)
class Team:
    """Who works together.

    Attributes:
        rank: this worker, from 0; rank 0 alone writes.
        world_size: workers.
        device: this worker's.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def current(cls, device: torch.device) -> "Team":
        """The process group that was set up, or this process alone."""
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return cls(rank, world_size, device)

    def wrap(self, learner: nn.Module) -> nn.Module:
        """The learner, with its gradients averaged over the team in each backward."""
        return DistributedDataParallel(learner) if dist.is_initialized() else learner

    def sum(self, values: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
        """The sum over the team of a small vector; the same on each worker."""
        if not dist.is_initialized():
            return values
        total = values.to(self.device)
        dist.all_reduce(total)
        return total

    def from_first(self, value: Value) -> Value:
        """What rank 0 has."""
        if not dist.is_initialized():
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def from_all(self, value: Value) -> list[Value]:
        """What each worker has, by rank."""
        if not dist.is_initialized():
            return [value]
        box: list[Value] = [value] * self.world_size
        dist.all_gather_object(box, value)
        return box

    def wait(self) -> None:
        """Until all have come here."""
        if dist.is_initialized():
            dist.barrier()
