"""The processes that train one run together, and what they tell each other.

Every process makes the same calls in the same order; a process on its own makes them for nothing.
NCCL carries what is on a GPU, Gloo what is on the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_degradation.system.process import ProcessInfo

T = TypeVar("T")


@dataclass(frozen=True)
class World(ProcessInfo):
    """All processes of a run as one of them sees them. Rank 0 alone owns the run folder."""

    @property
    def is_main(self) -> bool:
        """Whether this process owns the run folder."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in a row; the parts differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Replace values by their sums over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def all_reduce_min(self, values: Tensor) -> Tensor:
        """Replace values by the least that any process has."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MIN)
        return values

    def barrier(self) -> None:
        """Go on when all processes have come to this point."""
        self.sum(torch.zeros(1))

    def broadcast(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, for all."""
        if self.size == 1:
            return make()
        box: list[T | None] = [make() if self.is_main else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def any(self, holds: bool) -> bool:
        """Whether something holds in any process."""
        return bool(self.sum(torch.tensor(int(holds))))

    def local_rank_zero_first(self, make: Callable[[], T]) -> T:
        """What each process makes, the first of a machine before the others."""
        if self.local_rank > 0:
            self.barrier()
            return make()
        made = make()
        self.barrier()
        return made


ALONE = World()
