"""The processes that train one run together, and what they tell each other.

Every process makes the same calls in the same order; a process on its own makes them for nothing.
NCCL carries what is on a GPU, Gloo what is on the CPU.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from resnet_degradation.distributed.world import World
from resnet_degradation.system.os_signals import REQUEUING, StopRequest

FIRST = 1000  # what is added to the number of a signal that comes before others


class StopAgreement:
    """What signals asked of any process, known to all of them after the same iteration.

    Each time, a process posts what it heard, and waits for what all had posted the time before,
    which is there already: so nothing waits for the network, nor for a GPU.
    """

    def __init__(self, world: World, heard: StopRequest) -> None:
        self.world = world
        self.heard = heard
        self.stop_signal: int | None = None  # the number of the signal
        self.save_requested = False
        self._posted = torch.zeros(2, dtype=torch.int64)
        self._work: dist.Work | None = None

    def refresh(self) -> None:
        """Learn what all asked for; called by all processes equally often."""
        heard = self.heard
        stop = heard.stop_signal or 0
        save, heard.save_requested = heard.save_requested, False
        mine = torch.tensor([stop + FIRST * (stop in REQUEUING), int(save)])
        if self.world.size == 1:
            self._learn(mine)
            return
        if self._work is not None:
            self._work.wait()
            self._learn(self._posted)
        self._posted = mine
        self._work = dist.all_reduce(mine, dist.ReduceOp.MAX, async_op=True)

    def finish(self) -> None:
        """Wait for what is still on its way, when nothing more is to be asked."""
        if self._work is not None:
            self._work.wait()

    def _learn(self, asked: Tensor) -> None:
        stop, save = asked.tolist()
        self.stop_signal, self.save_requested = stop % FIRST or None, bool(save)
