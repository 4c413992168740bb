"""Finds the ranks of this process, its CPU cores and their load, without loading torch."""

import os
from dataclasses import dataclass

# Variables, set by torchrun, that the processes of a run need to find each other.
RENDEZVOUS_VARIABLES = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")

# The cores count as busy if the load per core is at least this.
BUSY_LOAD = 1.3

# How often an idle OpenMP thread checks for work before it sleeps. With GNU's default of 300,000,
# it occupies a core that another program could use (docs/speed.md has the measurements).
SPIN_COUNT = "20000"


@dataclass(frozen=True)
class ProcessInfo:
    """The rank of a process among all `size` processes of a run, and on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def read_process_info() -> ProcessInfo | None:
    """Read this process's ranks from the environment; None if it is the only process.

    torchrun (and training/launch.py) set WORLD_SIZE. srun sets SLURM_STEP_NUM_TASKS, which is not
    set in a batch script or a shell inside an allocation.
    """
    if _read_int("WORLD_SIZE") > 1:
        rank, size = _read_int("RANK", 0), _read_int("WORLD_SIZE")
        return ProcessInfo(
            rank, size, _read_int("LOCAL_RANK", rank), _read_int("LOCAL_WORLD_SIZE", size)
        )
    if (size := _read_int("SLURM_STEP_NUM_TASKS")) > 1:
        per_node = max(1, size // _read_int("SLURM_STEP_NUM_NODES"))
        return ProcessInfo(
            _read_int("SLURM_PROCID", 0), size, _read_int("SLURM_LOCALID", 0), per_node
        )
    return None


def describe_process_variables() -> str:
    """List, as NAME=value, the variables that make this process one of several."""
    names = ("WORLD_SIZE", "RANK") if _read_int("WORLD_SIZE") > 1 else ("SLURM_STEP_NUM_TASKS",)
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def find_rendezvous_problem() -> str:
    """Explain why the processes of a run cannot find each other; empty if they can.

    Processes started by srun need none of torch's variables.
    """
    size, rank = _read_int("WORLD_SIZE"), _read_int("RANK", 0)
    if size > 1 and rank >= size:
        return (
            f"the environment has RANK={rank} and WORLD_SIZE={size}, but ranks go from 0 to "
            f"{size - 1}: start the processes with torchrun, or unset both to run a single process"
        )
    missing = [name for name in RENDEZVOUS_VARIABLES if not os.environ.get(name)]
    if size <= 1 or not missing or _read_int("SLURM_STEP_NUM_TASKS") > 1:
        return ""
    present = [name for name in RENDEZVOUS_VARIABLES if name not in missing]
    return (
        f"the environment has {' '.join(f'{name}={os.environ[name]}' for name in present)} and "
        f"lacks {', '.join(missing)}, so {size} processes cannot find each other: "
        "start them with torchrun, which sets all of these, or unset "
        f"{' '.join(present)} to run a single process"
    )


def get_rank() -> int:
    """Return the rank of this process; 0 if it is the only process."""
    info = read_process_info()
    return info.rank if info is not None else 0


def limit_openmp_spinning() -> None:
    """Let idle OpenMP threads sleep early; call this before torch is loaded.

    This keeps environment variables that the user has set. Results do not change.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def describe_cpu_contention(num_threads: int, own_load: int = 0) -> str:
    """Return advice for a run whose cores are busy with other programs; empty if they are free.

    All threads wait for the slowest one, so a single busy core slows down all of them.
    own_load: the number of threads and processes of the run that already use the cores.
    """
    if num_threads < 2 or not (busy := describe_cpu_load(own_load)):
        return ""
    return (
        f"{busy}: runtime.num_threads=1 may then be faster than {num_threads} threads, which wait "
        "for each other"
    )


def describe_cpu_load(own_load: int = 0) -> str:
    """Describe how busy the cores are with other work; empty if they are free."""
    load = os.getloadavg()[0] - own_load if hasattr(os, "getloadavg") else 0.0
    if load < BUSY_LOAD * num_cpus():
        return ""
    return f"other work uses the cores (load {load:.1f} on {num_cpus()})"


def describe_threads(num_threads: int) -> str:
    """Describe the device of a run on the CPU, with its number of threads."""
    return f"cpu, {num_threads} thread{'s' if num_threads > 1 else ''}"


def num_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_int(name: str, default: int = 1) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else default
