"""The running statistics of batch normalization in several processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.distributed.world import World


class RunningStatistics:
    """A net's batch-norm statistics; each process keeps its own copy during training.

    Each process normalizes with its part of the batch. For evaluation, and for the weights saved in
    a checkpoint, the net holds the average over processes; the checkpoint also stores every
    process's statistics.
    """

    def __init__(self, net: nn.Module, world: World) -> None:
        self.net = net
        self.world = world
        # The statistics of this process while the net holds averages.
        self._own: Tensor | None = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block, the net holds the average over processes."""
        if self.world.size == 1 or self._own is not None:
            yield
            return
        self._own = flat_statistics(self.net)
        set_statistics(self.net, self.world.all_reduce_sum(self._own.clone()) / self.world.size)
        try:
            yield
        finally:
            set_statistics(self.net, self._own)
            self._own = None

    def state_dict(self) -> dict[str, Any]:
        """All processes' statistics, shape (processes, values); empty for a single process."""
        if self.world.size == 1:
            return {}
        own = flat_statistics(self.net) if self._own is None else self._own
        rows = torch.zeros(self.world.size, len(own), device=own.device)
        rows[self.world.rank] = own
        return {"of_ranks": self.world.all_reduce_sum(rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore this process's statistics if the number of processes has not changed."""
        rows = state.get("of_ranks")
        if rows is not None and len(rows) == self.world.size:
            set_statistics(self.net, rows[self.world.rank])


def flat_statistics(net: nn.Module) -> Tensor:
    """A copy of a net's running means and variances, as one flat tensor."""
    return torch.cat([buffer.flatten() for buffer in net.buffers() if buffer.is_floating_point()])


@torch.no_grad()
def set_statistics(net: nn.Module, flat: Tensor) -> None:
    """Replace a net's running means and variances by those in a flat tensor."""
    buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
