"""Collective operations of the processes that share one training run.

All processes must make the same calls in the same order. NCCL transfers tensors on GPUs; Gloo
transfers those on CPUs. A single process transfers nothing.
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
    """The processes of a run, as seen by one of them. Only rank 0 owns the run folder."""

    @property
    def is_main(self) -> bool:
        """Whether this process owns the run folder."""
        return self.rank == 0

    def local_slice(self, count: int) -> slice:
        """Return this process's slice of `count` items. Slices differ in length by at most one."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Replace values with their sums over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def all_reduce_min(self, values: Tensor) -> Tensor:
        """Replace values with their minimum over all processes."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MIN)
        return values

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""
        self.all_reduce_sum(torch.zeros(1))

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` on rank 0 only; return its result in all processes."""
        if self.size == 1:
            return make()
        objects: list[T | None] = [make() if self.is_main else None]
        dist.broadcast_object_list(objects, src=0, device=torch.device("cpu"))
        return objects[0]  # type: ignore[return-value]

    def any(self, condition: bool) -> bool:
        """Whether `condition` is true in any process."""
        return bool(self.all_reduce_sum(torch.tensor(int(condition))))

    def local_rank_zero_first(self, make: Callable[[], T]) -> T:
        """Call `make` in one process of each machine, then in the others; return its result."""
        if self.local_rank > 0:
            self.barrier()
            return make()
        value = make()
        self.barrier()
        return value


SINGLE_PROCESS = World()
