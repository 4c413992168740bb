"""Lets the processes of a run agree on when to stop or save."""

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_degradation.distributed.world import World
from resnet_degradation.system.os_signals import REQUEUE_SIGNALS, StopRequest

# Added to REQUEUE_SIGNALS, so that they win when the maximum over processes is taken.
REQUEUE_OFFSET = 1000


class StopAgreement:
    """Shares received signals, so that all processes act on them after the same iteration.

    Each `refresh` starts an all-reduce and reads the result of the previous one, which has arrived
    by then. This way, no process waits for the network or a GPU.
    """

    def __init__(self, world: World, request: StopRequest) -> None:
        self.world = world
        self.request = request
        self.stop_signal: int | None = None  # signal number
        self.save_requested = False
        self._pending = torch.zeros(2, dtype=torch.int64)
        self._work: dist.Work | None = None

    def refresh(self) -> None:
        """Update `stop_signal` and `save_requested`; all processes must make the same calls."""
        request = self.request
        stop = request.stop_signal or 0
        save, request.save_requested = request.save_requested, False
        local = torch.tensor([stop + REQUEUE_OFFSET * (stop in REQUEUE_SIGNALS), int(save)])
        if self.world.size == 1:
            self._update(local)
            return
        if self._work is not None:
            self._work.wait()
            self._update(self._pending)
        self._pending = local
        self._work = dist.all_reduce(local, dist.ReduceOp.MAX, async_op=True)

    def finish(self) -> None:
        """Wait for the last all-reduce."""
        if self._work is not None:
            self._work.wait()

    def _update(self, requested: Tensor) -> None:
        stop, save = requested.tolist()
        self.stop_signal, self.save_requested = stop % REQUEUE_OFFSET or None, bool(save)
