"""Manages the memory of a process: keeps or frees it, and recomputes activations to save it."""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.config.schema import Config
from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.nets.activation_checkpointing import (
    StageBytes,
    activation_bytes,
    choose_segment_lengths,
)
from resnet_degradation.nets.cost import LayerCost
from resnet_degradation.nets.resnet import ResNet

# Share of the free memory that activations may take before they are recomputed.
ACTIVATION_MEMORY_SHARE = 0.6

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system.

    Otherwise the system zeroes the pages of every activation again in the next iteration.
    """
    if (mallopt := find_c_function("mallopt")) is not None:
        if mallopt(M_MMAP_THRESHOLD, 2**30) == 0:
            mallopt(M_MMAP_THRESHOLD, 2**25)  # the largest value that older versions accept
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Return the memory of a finished run to the system."""
    gc.collect()
    if (trim := find_c_function("malloc_trim")) is not None:
        trim(0)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def find_c_function(name: str) -> Any:
    """Find a function of the C library; None if it does not exist, for example outside glibc."""
    with suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL(None), name) if sys.platform == "linux" else None
    return None


def keeps_gradients(net: ResNet) -> bool:
    """Whether gradients are allocated once and then overwritten, rather than freed.

    Gradients that every backward pass allocates anew lie between the activations and fragment the
    memory. Custom blocks are an exception: a parameter that gets no gradient must keep None,
    because SGD applies weight decay to a parameter whose gradient is zero.
    """
    return net.segment_lengths is not None and not net.has_custom_blocks


def set_activation_checkpointing(
    net: ResNet, costs: list[LayerCost], config: Config, world: World = SINGLE_PROCESS
) -> None:
    """Recompute a net's activations in the backward pass if configured or needed."""
    device = next(net.parameters()).device
    stages = activation_bytes(costs)
    if world.any(uses_activation_checkpointing(config, stages, device, world)):
        net.segment_lengths = choose_segment_lengths(stages)
    if keeps_gradients(net):
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)


def uses_activation_checkpointing(
    config: Config, stages: StageBytes, device: torch.device, world: World = SINGLE_PROCESS
) -> bool:
    """Whether to recompute activations: as configured, or, with auto, if they do not fit."""
    setting = config.runtime.checkpoint_activations
    if setting != "auto":
        return setting == "on"
    free = get_free_memory(device)
    per_image = sum(kept for stage in stages for kept, _ in stage)
    # The processes of a machine share its memory; a GPU belongs to one process.
    num_sharing = world.local_size if device.type == "cpu" else 1
    needed = per_image * config.recipe.batch_size / world.size * num_sharing
    return free is not None and needed > ACTIVATION_MEMORY_SHARE * free


def get_free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if it is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):
        return None
    return min([free, *get_cgroup_headroom()])


def get_cgroup_headroom(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> list[int]:
    """Return the bytes left under each memory limit of a container or batch job (cgroup v2)."""
    headroom = []
    with suppress(OSError):
        groups = (Path(proc) / "self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
        cgroup = next((group[len("0::/") :] for group in groups if group.startswith("0::/")), "")
        for folder in (Path(cgroup), *Path(cgroup).parents):
            with suppress(OSError, ValueError):  # no limit, or "max"
                limit, used = (
                    int((Path(cgroups) / folder / name).read_text("utf-8"))
                    for name in ("memory.max", "memory.current")
                )
                headroom.append(max(0, limit - used))
    return headroom
