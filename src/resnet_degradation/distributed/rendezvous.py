"""Connects the processes of a run, and ends all of them if one fails."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.system.errors import (
    ConfigError,
    LostContactError,
    PeerFailedError,
    Stopped,
    explain,
)
from resnet_degradation.system.process import (
    ProcessInfo,
    find_rendezvous_problem,
    read_process_info,
)

# Stores that this process may serve. They stay open so that others can read which rank failed.
_OPEN_STORES: list[Store] = []

# Store keys for the rank of the first process that failed, or that lost contact.
FAILED_KEY, LOST_KEY = "failed", "lost"


@contextmanager
def process_group(name: str, timeout: float) -> Iterator[World]:
    """Yield this process's World once all processes of the run have joined the group `name`.

    timeout: seconds to wait for other processes, here and in every collective operation.
    If a process fails, the others raise PeerFailedError, so that only one prints the error. If
    other processes have died or do not answer, raises LostContactError.
    """
    info = read_process_info()
    if info is None:
        yield SINGLE_PROCESS
        return
    world = World(**vars(info))
    store = _join_group(name, info, timedelta(seconds=timeout))
    try:
        yield world
        world.barrier()  # no process leaves before all are done
    except Exception as error:
        lost_contact = _lost_contact_error(error, world.rank, timeout)
        if lost_contact is None and explain(error) is None:
            raise  # a bug
        first_rank = _read_first_rank(store, FAILED_KEY, world.rank, claim=lost_contact is None)
        if first_rank not in {None, world.rank}:
            raise PeerFailedError(first_rank) from None
        failure = lost_contact or error
        if lost_contact is not None:  # others lost contact too; only one reports it
            first_rank = _read_first_rank(store, LOST_KEY, world.rank, claim=True)
        failure.rank = world.rank if first_rank is None else first_rank  # type: ignore[attr-defined]
        raise failure from None
    except Stopped:
        _read_first_rank(store, FAILED_KEY, world.rank, claim=True)
        raise
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _join_group(name: str, info: ProcessInfo, timeout: timedelta) -> Store:
    if problem := find_rendezvous_problem():
        raise ConfigError(problem)
    if "MASTER_ADDR" not in os.environ:
        _set_torch_variables(info)
    try:
        store, _, _ = next(rendezvous("env://", timeout=timeout))
        # A store can outlive its processes. Do not read what they wrote before a restart.
        store_survives = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "") if store_survives else ""
        store = PrefixStore(f"{name}/{restart}", store)
        _OPEN_STORES.append(store)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=store,
            rank=info.rank,
            world_size=info.size,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:  # DistError is a RuntimeError
        failure = LostContactError(
            f"process {info.rank} of {info.size} cannot join the others at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
            f"({str(error).splitlines()[0]}). To train in a single process, unset WORLD_SIZE or "
            "SLURM_STEP_NUM_TASKS, which say that there are several"
        )
        failure.rank = info.rank
        raise failure from error
    return store


def _set_torch_variables(info: ProcessInfo) -> None:
    """Set torch's variables so that the processes of a Slurm job step meet on its first machine.

    This does not call Slurm's commands, because containers lack them.
    """
    nodes = os.environ.get("SLURM_STEP_NODELIST", "localhost")  # such as gpu[03-05,9]-ib,cpu1
    first_node = re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]
    job, step = (int(os.environ.get(f"SLURM_{part}_ID", "0")) for part in ("JOB", "STEP"))
    os.environ |= {
        "MASTER_ADDR": first_node,
        "MASTER_PORT": str(20_000 + (job * 100 + step) % 40_000),
        "RANK": str(info.rank),
        "WORLD_SIZE": str(info.size),
        "LOCAL_RANK": str(info.local_rank),
        "LOCAL_WORLD_SIZE": str(info.local_size),
    }


def _read_first_rank(store: Store, key: str, rank: int, claim: bool) -> int | None:
    """Return the rank that first wrote `key`, or None.

    claim: write this rank if no process has written one.
    """
    with suppress(RuntimeError):  # the process that serves the store may have died
        if claim:
            return int(store.compare_set(key, "", str(rank)))
        if store.check([key]):
            return int(store.get(key))
    return None


# Match the errors of Gloo and NCCL if a process does not answer, and if it has died.
TIMEOUT_PATTERN = re.compile(r"time(d |-)?out", re.IGNORECASE)
CONNECTION_PATTERN = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|pair clos", re.I
)


def _lost_contact_error(error: Exception, rank: int, timeout: float) -> LostContactError | None:
    """Make the error to raise if another process has died or does not answer, otherwise None."""
    if not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError):
        return None
    if TIMEOUT_PATTERN.search(str(error)):
        problem = f"got no answer from another process in {timeout:g} s (runtime.timeout)"
    elif isinstance(error, dist.DistError) or CONNECTION_PATTERN.search(str(error)):
        problem = "lost contact with another process"
    else:
        return None
    return LostContactError(
        f"rank {rank} {problem}; the same command resumes from the last checkpoint"
    )
