"""Works around gaps and past errors of torch on Apple GPUs (device "mps"); never tested on one."""

import torch
from torch import Tensor

MPS = "mps"


def apple_gpu_note(device: str) -> str | None:
    """Return a hint if a run uses the CPU although there is an Apple GPU, otherwise None.

    device: the value of runtime.device.
    """
    if device == "auto" and torch.backends.mps.is_available():
        return (
            "hint: runtime.device=mps trains on this Apple GPU, which was never tested "
            "(docs/running.md)"
        )
    return None


def choose_memory_format(device: torch.device) -> torch.memory_format:
    """Choose the memory format of images and weights: channels last, which is fast.

    On an Apple GPU, choose torch's default, because torch has computed wrong gradients of batch
    normalization there in channels last.
    """
    return torch.contiguous_format if device.type == MPS else torch.channels_last


def to_float64(values: Tensor) -> Tensor:
    """Convert to float64, on the CPU if values are on an Apple GPU, which has no float64."""
    return (values.cpu() if values.device.type == MPS else values).double()
