"""The processes that train one run together, and what they tell each other.

Every process makes the same calls in the same order; a process on its own makes them for nothing.
NCCL carries what is on a GPU, Gloo what is on the CPU.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

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
from resnet_degradation.processes import Place, place, rendezvous_problem
from resnet_degradation.signals import REQUEUING, Wishes

T = TypeVar("T")

# Stores that this process may serve, for as long as it lives: others learn there what failed.
_KEPT: list[Store] = []

# Keys under which the first process to fail, or to find that another is gone, leaves its rank.
FAILED, LOST = "failed", "lost"


@dataclass(frozen=True)
class World(Place):
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

    def any(self, holds: bool) -> bool:
        """Whether something holds in any process."""
        return bool(self.sum(torch.tensor(int(holds))))

    def by_machine(self, make: Callable[[], T]) -> T:
        """What each process makes, the first of a machine before the others."""
        if self.local_rank > 0:
            self.wait_for_all()
            return make()
        made = make()
        self.wait_for_all()
        return made


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
    world = World(**vars(where))
    store = _join(name, where, timedelta(seconds=timeout))
    try:
        yield world
        world.wait_for_all()  # until then, nobody hangs up
    except Exception as error:
        contact = _lost_contact(error, world.rank, timeout)
        if contact is None and explain(error) is None:
            raise  # a bug
        first = _first(store, FAILED, world.rank, claim=contact is None)
        if first not in {None, world.rank}:
            raise PeerFailedError(first) from None
        failure = contact or error
        if contact is not None:  # others lost it too, and one saying so is enough
            first = _first(store, LOST, world.rank, claim=True)
        failure.rank = world.rank if first is None else first  # type: ignore[attr-defined]
        raise failure from None
    except Stopped:
        _first(store, FAILED, world.rank, claim=True)
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _join(name: str, where: Place, timeout: timedelta) -> Store:
    if problem := rendezvous_problem():
        raise ConfigError(problem)
    if "MASTER_ADDR" not in os.environ:
        _meet_in_slurm(where)
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
            f"({str(error).splitlines()[0]}). To train in a single process, unset WORLD_SIZE or "
            "SLURM_STEP_NUM_TASKS, which say that there are more"
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


def _meet_in_slurm(where: Place) -> None:
    """Let the processes of a Slurm job step find each other: on the first of its machines.

    Nothing of Slurm is called, which is not there in a container.
    """
    nodes = os.environ.get("SLURM_STEP_NODELIST", "localhost")  # as gpu[03-05,9]-ib,cpu1
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]
    step = [int(os.environ.get(f"SLURM_{part}_ID", "0")) for part in ("JOB", "STEP")]
    os.environ |= {
        "MASTER_ADDR": first,
        "MASTER_PORT": str(20_000 + (step[0] * 100 + step[1]) % 40_000),
        "RANK": str(where.rank),
        "WORLD_SIZE": str(where.size),
        "LOCAL_RANK": str(where.local_rank),
        "LOCAL_WORLD_SIZE": str(where.local_size),
    }


def _first(store: Store, key: str, rank: int, claim: bool) -> int | None:
    """The rank that said something first, this one if it claims to; None if none did."""
    with suppress(RuntimeError):  # who keeps the store may be gone
        if claim:
            return int(store.compare_set(key, "", str(rank)))
        if store.check([key]):
            return int(store.get(key))
    return None


# What Gloo and NCCL say of a process that does not answer, and of one that is gone.
SILENT = re.compile(r"time(d |-)?out", re.IGNORECASE)
GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|pair clos", re.I)


def _lost_contact(error: Exception, rank: int, timeout: float) -> LostContactError | None:
    """What to say if an error is that another process is gone or silent."""
    if not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError):
        return None
    if SILENT.search(str(error)):
        return LostContactError(
            f"rank {rank} waited in vain for another process for {timeout:g} s (runtime.timeout); "
            "the same command goes on from the last checkpoint"
        )
    if isinstance(error, dist.DistError) or GONE.search(str(error)):
        return LostContactError(
            f"rank {rank} lost contact with another process; the same command goes on from the "
            "last checkpoint"
        )
    return None


FIRST = 1000  # what is added to the number of a signal that comes before others


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
        stop = heard.to_stop or 0
        save, heard.to_save = heard.to_save, False
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
        self.to_stop, self.to_save = stop % FIRST or None, bool(save)
