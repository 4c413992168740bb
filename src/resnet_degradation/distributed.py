"""The processes that train one run together, and what they tell each other.

Every process makes the same calls in the same order; a process on its own makes them for nothing.
NCCL carries what is on a GPU, Gloo what is on the CPU.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from resnet_degradation.errors import (
    ConfigError,
    LostContactError,
    PeerFailedError,
    Stopped,
    explain,
)
from resnet_degradation.processes import Place, place
from resnet_degradation.signals import Wishes

T = TypeVar("T")

# Stores that this process may serve, for as long as it lives: others learn there what failed.
_KEPT: list[Store] = []

FAILED = "failed"  # the key under which the first process to fail leaves its rank


@dataclass(frozen=True)
class World:
    """All processes of a run as one of them sees them. Rank 0 alone owns the run folder."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

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

    def least(self, values: Tensor) -> Tensor:
        """Replace values by the least that any process has."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MIN)
        return values

    def wait_for_all(self) -> None:
        """Go on when all processes have come to this point."""
        self.sum(torch.zeros(1))

    def from_main(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, for all."""
        if self.size == 1:
            return make()
        box: list[T | None] = [make() if self.is_main else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    @torch.no_grad()
    def average_statistics(self, net: nn.Module) -> None:
        """Replace the running statistics of a net by their means over all processes.

        Each process normalizes by its own part of a batch, so they differ. They are running means,
        so it does not matter how often they are averaged.
        """
        if self.size == 1:
            return
        buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
        flat = self.sum(torch.cat([buffer.flatten() for buffer in buffers])) / self.size
        for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))


ALONE = World()


@contextmanager
def joined(name: str, timeout: float) -> Iterator[World]:
    """The world of this process, which waits for the others to join it under the same name.

    A process waits for the others for `timeout` seconds at most. If one fails, it alone says so:
    in the others PeerFailedError is raised. Raises LostContactError if the others are gone or do
    not answer.
    """
    where = place()
    if where is None:
        yield ALONE
        return
    world = World(where.rank, where.size, where.local_rank, where.local_size)
    store = _join(name, where, timedelta(seconds=timeout))
    try:
        yield world
        world.wait_for_all()  # until then, nobody hangs up
    except Exception as error:
        contact = _lost_contact(error, world.rank, timeout)
        if contact is None and explain(error) is None:
            raise  # a bug
        first = _first_to_fail(store, world.rank, claim=contact is None)
        if first not in {None, world.rank}:
            raise PeerFailedError(first) from None
        failure = contact or error
        failure.rank = world.rank  # type: ignore[attr-defined]
        raise failure from None
    except Stopped:
        _first_to_fail(store, world.rank, claim=True)
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _join(name: str, where: Place, timeout: timedelta) -> Store:
    if "MASTER_ADDR" not in os.environ:
        _meet_in_slurm()
    try:
        store, _, _ = next(rendezvous("env://", timeout=timeout))
        store = PrefixStore(f"{name}/{_attempt()}", store)
        _KEPT.append(store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=store,
            rank=where.rank,
            world_size=where.size,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:  # DistError is a RuntimeError
        failure = LostContactError(
            f"process {where.rank} of {where.size} cannot join the others at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
            f"({str(error).splitlines()[0]})"
        )
        failure.rank = where.rank
        raise failure from error
    return store


def _attempt() -> str:
    """Which start of the processes this is, where they meet in a store that outlives them.

    There, those that are started again would find each other by what the dead ones left.
    """
    outlives = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "") if outlives else ""


def _meet_in_slurm() -> None:
    """Let the processes of a Slurm job step find each other: submitit knows how."""
    try:
        from submitit.helpers import TorchDistributedEnvironment
    except ImportError as error:
        raise ConfigError(
            "several processes under srun find each other with submitit: pip install -e '.[slurm]'"
        ) from error
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def _first_to_fail(store: Store, rank: int, claim: bool) -> int | None:
    """The rank that failed first, which may be this one if it claims to; None if none said so."""
    with suppress(RuntimeError):  # who keeps the store may be gone
        if claim:
            return int(store.compare_set(FAILED, "", str(rank)))
        if store.check([FAILED]):
            return int(store.get(FAILED))
    return None


def _lost_contact(error: Exception, rank: int, timeout: float) -> LostContactError | None:
    """What to say if an error is that another process is gone or silent."""
    text = str(error)
    if not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError):
        return None
    if "Timed out" in text or "timed out" in text:
        return LostContactError(
            f"rank {rank} waited in vain for another process for {timeout:g} s (runtime.timeout); "
            "the same command goes on from the last checkpoint"
        )
    if isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text:
        return LostContactError(
            f"rank {rank} lost contact with another process; the same command goes on from the "
            "last checkpoint"
        )
    return None


class Agreement:
    """What signals asked of any process, known to all of them after the same iteration.

    Each time, a process posts what it heard, and waits for what all had posted the time before,
    which is there already: so nothing waits for the network, nor for a GPU.
    """

    def __init__(self, world: World, heard: Wishes) -> None:
        self.world = world
        self.heard = heard
        self.to_stop: int | None = None  # the number of the signal
        self.to_save = False
        self._posted = torch.zeros(2, dtype=torch.int64)
        self._work: dist.Work | None = None

    def refresh(self) -> None:
        """Learn what all asked for; called by all processes equally often."""
        heard = self.heard
        mine = torch.tensor([heard.to_stop or 0, int(heard.to_save)])
        heard.to_save = False
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
        self.to_stop, self.to_save = stop or None, bool(save)
