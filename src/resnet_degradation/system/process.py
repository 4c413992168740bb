"""Where torchrun or Slurm put this process among those that train one run; without torch."""

import os
from dataclasses import dataclass

# What torchrun sets, and torch needs, for the processes of a run to find each other.
RENDEZVOUS = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")

# The load of a machine, by the core, from which on its cores are taken to be in use.
CROWDED = 1.3


@dataclass(frozen=True)
class ProcessInfo:
    """A process's number among all `size` of a run, and among those on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def process_info() -> ProcessInfo | None:
    """The place of this process, by its environment; None if it trains on its own.

    torchrun (and our own launch) set WORLD_SIZE; srun sets SLURM_STEP_NUM_TASKS, which a batch
    script or a shell inside an allocation does not have.
    """
    if _number("WORLD_SIZE") > 1:
        rank, size = _number("RANK", 0), _number("WORLD_SIZE")
        return ProcessInfo(
            rank, size, _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", size)
        )
    if (size := _number("SLURM_STEP_NUM_TASKS")) > 1:
        on_each = max(1, size // _number("SLURM_STEP_NUM_NODES"))
        return ProcessInfo(_number("SLURM_PROCID", 0), size, _number("SLURM_LOCALID", 0), on_each)
    return None


def one_of_several() -> str:
    """The variables that say that this process is one of several, and their values."""
    names = ("WORLD_SIZE", "RANK") if _number("WORLD_SIZE") > 1 else ("SLURM_STEP_NUM_TASKS",)
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def rendezvous_problem() -> str:
    """Why processes that the environment speaks of cannot find each other; empty if they can.

    Those that srun started need no variables of torch's.
    """
    size, number = _number("WORLD_SIZE"), _number("RANK", 0)
    if size > 1 and number >= size:
        return (
            f"the environment has RANK={number} and WORLD_SIZE={size}, but ranks go from 0 to "
            f"{size - 1}: start the processes with torchrun, or unset both to run a single process"
        )
    missing = [name for name in RENDEZVOUS if not os.environ.get(name)]
    if size <= 1 or not missing or _number("SLURM_STEP_NUM_TASKS") > 1:
        return ""
    given = [name for name in RENDEZVOUS if name not in missing]
    return (
        f"the environment has {' '.join(f'{name}={os.environ[name]}' for name in given)} and "
        f"lacks {', '.join(missing)}, so {size} processes cannot find each other: "
        "start them with torchrun, which sets all of these, or unset "
        f"{' '.join(given)} to run a single process"
    )


def rank() -> int:
    """The rank of this process; 0 if it trains on its own."""
    where = process_info()
    return where.rank if where is not None else 0


def cpu_contention(num_threads: int) -> str:
    """What is to be said where threads would wait for cores that others use; empty if they do not.

    Threads that share out a sum wait for the slowest of them, so one core that is taken slows all.
    """
    if num_threads < 2 or not (busy := load_of_others()):
        return ""
    return (
        f"{busy}: runtime.num_threads=1 may then be faster than {num_threads} threads, which wait "
        "for each other"
    )


def load_of_others() -> str:
    """How busy other programs keep the cores, in words; empty if they leave room."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load < CROWDED * num_cpus():
        return ""
    return f"other work uses the cores (load {load:.1f} on {num_cpus()})"


def describe_threads(num_threads: int) -> str:
    """A CPU with so many threads, in words."""
    return f"cpu, {num_threads} thread{'s' if num_threads > 1 else ''}"


def num_cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(name: str, default: int = 1) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
