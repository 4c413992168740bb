"""The running statistics of batch normalization in several processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.distributed.world import World


class RunningStatistics:
    """Manages a net's batch-norm statistics, of which each process trains its own copy.

    Each process normalizes with its part of the batch. The net holds the average over processes
    during evaluation and in the weights of a checkpoint. A checkpoint also stores the statistics of
    every process.
    """

    def __init__(self, net: nn.Module, world: World) -> None:
        self.net = net
        self.world = world
        # The statistics of this process while the net holds averages.
        self._local: Tensor | None = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Make the net hold the average over processes inside the block."""
        if self.world.size == 1 or self._local is not None:
            yield
            return
        self._local = get_statistics(self.net)
        set_statistics(self.net, self.world.all_reduce_sum(self._local.clone()) / self.world.size)
        try:
            yield
        finally:
            set_statistics(self.net, self._local)
            self._local = None

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics of all processes; empty for a single process.

        "of_ranks": tensor of shape (num_processes, num_values).
        """
        if self.world.size == 1:
            return {}
        local = get_statistics(self.net) if self._local is None else self._local
        rows = torch.zeros(self.world.size, len(local), device=local.device)
        rows[self.world.rank] = local
        return {"of_ranks": self.world.all_reduce_sum(rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore this process's statistics if the number of processes has not changed."""
        rows = state.get("of_ranks")
        if rows is not None and len(rows) == self.world.size:
            set_statistics(self.net, rows[self.world.rank])


def get_statistics(net: nn.Module) -> Tensor:
    """Copy a net's running means and variances to one flat tensor."""
    return torch.cat([buffer.flatten() for buffer in net.buffers() if buffer.is_floating_point()])


@torch.no_grad()
def set_statistics(net: nn.Module, flat: Tensor) -> None:
    """Replace a net's running means and variances with those in a flat tensor."""
    buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
