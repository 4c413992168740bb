"""How the processes of a run find each other, and what becomes of them when one fails."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.system.errors import (
    ConfigError,
    LostContactError,
    PeerFailedError,
    Stopped,
    explain,
)
from resnet_degradation.system.process import ProcessInfo, process_info, rendezvous_problem

# Stores that this process may serve. They stay open, because others read there what failed.
_KEPT: list[Store] = []

# Keys under which the first process that fails, or loses contact, leaves its rank.
FAILED, LOST = "failed", "lost"


@contextmanager
def process_group(name: str, timeout: float) -> Iterator[World]:
    """The world of this process, once all processes of the run have joined under `name`.

    timeout: seconds to wait for others, here and in every collective operation. If a process
    fails, the others raise PeerFailedError, so that only one prints the error. Raises
    LostContactError if other processes have died or do not answer.
    """
    where = process_info()
    if where is None:
        yield ALONE
        return
    world = World(**vars(where))
    store = _join(name, where, timedelta(seconds=timeout))
    try:
        yield world
        world.barrier()  # no process leaves before
    except Exception as error:
        contact = _lost_contact(error, world.rank, timeout)
        if contact is None and explain(error) is None:
            raise  # a bug
        first = _first(store, FAILED, world.rank, claim=contact is None)
        if first not in {None, world.rank}:
            raise PeerFailedError(first) from None
        failure = contact or error
        if contact is not None:  # others lost contact too; one prints it
            first = _first(store, LOST, world.rank, claim=True)
        failure.rank = world.rank if first is None else first  # type: ignore[attr-defined]
        raise failure from None
    except Stopped:
        _first(store, FAILED, world.rank, claim=True)
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _join(name: str, where: ProcessInfo, timeout: timedelta) -> Store:
    if problem := rendezvous_problem():
        raise ConfigError(problem)
    if "MASTER_ADDR" not in os.environ:
        _meet_in_slurm(where)
    try:
        store, _, _ = next(rendezvous("env://", timeout=timeout))
        # Restarted processes must not read what dead ones left in a store that outlives them.
        outlives = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "") if outlives else ""
        store = PrefixStore(f"{name}/{restart}", store)
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
            "SLURM_STEP_NUM_TASKS, which say that there are several"
        )
        failure.rank = where.rank
        raise failure from error
    return store


def _meet_in_slurm(where: ProcessInfo) -> None:
    """Let the processes of a Slurm job step meet on the first of its machines.

    No command of Slurm is called, because a container has none.
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
    """The rank that wrote a key first (this one, if it claims to); None if none did."""
    with suppress(RuntimeError):  # the process that serves the store may have died
        if claim:
            return int(store.compare_set(key, "", str(rank)))
        if store.check([key]):
            return int(store.get(key))
    return None


# Messages of Gloo and NCCL about a process that does not answer, and about one that has died.
SILENT = re.compile(r"time(d |-)?out", re.IGNORECASE)
GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|pair clos", re.I)


def _lost_contact(error: Exception, rank: int, timeout: float) -> LostContactError | None:
    """The error to raise if another process has died or does not answer."""
    if not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError):
        return None
    if SILENT.search(str(error)):
        what = f"waited in vain for another process for {timeout:g} s (runtime.timeout)"
    elif isinstance(error, dist.DistError) or GONE.search(str(error)):
        what = "lost contact with another process"
    else:
        return None
    return LostContactError(
        f"rank {rank} {what}; the same command resumes from the last checkpoint"
    )
