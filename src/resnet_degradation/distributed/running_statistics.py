"""The running statistics of batch normalization in several processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.distributed.world import World


class RunningStatistics:
    """The running statistics of a net, of which each process has its own while it trains.

    Each normalizes by its own part of a batch. For evaluations, and in a checkpoint's net, they are
    replaced by their means; a checkpoint holds each process's own beside them.
    """

    def __init__(self, net: nn.Module, world: World) -> None:
        self.net = net
        self.world = world
        self._own: Tensor | None = None  # while the net has the means

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The net has the means of all processes for a while."""
        if self.world.size == 1 or self._own is not None:
            yield
            return
        self._own = flat_statistics(self.net)
        set_statistics(self.net, self.world.sum(self._own.clone()) / self.world.size)
        try:
            yield
        finally:
            set_statistics(self.net, self._own)
            self._own = None

    def state_dict(self) -> dict[str, Any]:
        """The statistics (processes, values) of all; nothing if there is one process."""
        if self.world.size == 1:
            return {}
        own = flat_statistics(self.net) if self._own is None else self._own
        rows = torch.zeros(self.world.size, len(own), device=own.device)
        rows[self.world.rank] = own
        return {"of_ranks": self.world.sum(rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up this process's own, if there are as many processes as there were."""
        rows = state.get("of_ranks")
        if rows is not None and len(rows) == self.world.size:
            set_statistics(self.net, rows[self.world.rank])


def flat_statistics(net: nn.Module) -> Tensor:
    """A copy of all running means and variances of a net in one row."""
    return torch.cat([buffer.flatten() for buffer in net.buffers() if buffer.is_floating_point()])


@torch.no_grad()
def set_statistics(net: nn.Module, flat: Tensor) -> None:
    """Replace all running means and variances of a net."""
    buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    for buffer, values in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
