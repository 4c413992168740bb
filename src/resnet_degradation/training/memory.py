"""How a process is set up for a run: what makes it faster, or take less memory."""

import ctypes
import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.config.schema import Config
from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.nets.activation_checkpointing import (
    Stages,
    activation_bytes,
    segment_lengths,
)
from resnet_degradation.nets.cost import LayerCost
from resnet_degradation.nets.resnet import ResNet

# Of the memory that is free, the part from which on activations are computed again.
SHARE_OF_MEMORY = 0.6

# Precisions in which only the weights and what needs it are float32.
MIXED = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Names of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@contextmanager
def restore_settings() -> Iterator[None]:
    """Give the next run of this process what this one found.

    That is the number of threads, TF32, torch's random numbers (from which layers of a custom block
    may be initialised), warnings that were given already, and memory.
    """
    num_threads = torch.get_num_threads()
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = cudnn.allow_tf32, matmul.allow_tf32
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(num_threads)
            cudnn.allow_tf32, matmul.allow_tf32 = tf32
            release_memory()


def set_precision(precision: str) -> None:
    """Set up this process for training in one of the precisions."""
    # torch lets convolutions round to TF32 unless it is told not to.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def keep_freed_memory() -> None:
    """Let the C library keep freed pieces of memory of less than 1 GiB, where it is glibc.

    Otherwise it hands the memory of every activation back to the system, which gives it out again
    page by page, as zeros, in the next iteration.
    """
    if (mallopt := c_function("mallopt")) is not None:
        if mallopt(M_MMAP_THRESHOLD, 2**30) == 0:
            mallopt(M_MMAP_THRESHOLD, 2**25)  # older ones take no more
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Hand memory that a run no longer uses back, so that the next one finds it free."""
    gc.collect()
    if (trim := c_function("malloc_trim")) is not None:
        trim(0)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def c_function(name: str) -> Any:
    """A function of the C library; None where there is no such one, as outside glibc."""
    with suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL(None), name) if sys.platform == "linux" else None
    return None


def keeps_gradients(net: ResNet) -> bool:
    """Whether gradients have memory of their own that each iteration overwrites.

    Made anew by every backward pass, they come to lie among the maps and outlive them, and freed
    maps that have a gradient between them do not make room for a larger one: so it pays where
    memory is short. Where a parameter may get no gradient it must not be done: of those with one,
    though it be zero, weights decay.
    """
    return net.segment_lengths is not None and not net.has_custom_blocks


def set_activation_checkpointing(
    net: ResNet, costs: list[LayerCost], config: Config, world: World = ALONE
) -> None:
    """Let a net compute activations again where that is wanted; `costs` are its layers'."""
    device = next(net.parameters()).device
    stages = activation_bytes(costs)
    if world.any(uses_activation_checkpointing(config, stages, device, world)):
        net.segment_lengths = segment_lengths(stages)
    if keeps_gradients(net):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)


def uses_activation_checkpointing(
    config: Config, stages: Stages, device: torch.device, world: World = ALONE
) -> bool:
    """Whether activations are to be computed again: as configured, or where they do not fit."""
    wanted = config.runtime.checkpoint_activations
    if wanted != "auto":
        return wanted == "on"
    free = free_memory(device)
    per_image = sum(kept for stage in stages for kept, _ in stage)
    # The processes of a machine share its memory; a GPU is one process's.
    sharing = world.local_size if device.type == "cpu" else 1
    needed = per_image * config.recipe.batch_size / world.size * sharing
    return free is not None and needed > SHARE_OF_MEMORY * free


def free_memory(device: torch.device) -> int | None:
    """The bytes that are free on a device, or None if it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):
        return None
    return min([free, *left_to_this_process()])


def left_to_this_process(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> list[int]:
    """The bytes left by each limit that a container or a batch system set (Linux's cgroup v2)."""
    left = []
    with suppress(OSError):
        groups = (Path(proc) / "self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
        own = next((group[len("0::/") :] for group in groups if group.startswith("0::/")), "")
        for folder in (Path(own), *Path(own).parents):
            with suppress(OSError, ValueError):  # there is no limit, or it is "max"
                limit, used = (
                    int((Path(cgroups) / folder / name).read_text("utf-8"))
                    for name in ("memory.max", "memory.current")
                )
                left.append(max(0, limit - used))
    return left
