"""What torch cannot do, or once did wrongly, on Apple GPUs (device "mps"). Never tested on one."""

import torch
from torch import Tensor

MPS = "mps"


def apple_gpu_note(wanted: str) -> str | None:
    """A hint for a user who trains on the CPU of a machine with an Apple GPU, or None.

    wanted: the value of runtime.device.
    """
    if wanted == "auto" and torch.backends.mps.is_available():
        return (
            "hint: runtime.device=mps trains on this Apple GPU, which was never tested "
            "(docs/running.md)"
        )
    return None


def memory_format(device: torch.device) -> torch.memory_format:
    """The memory format of images and weights: channels last, in which convolutions are fast.

    On an Apple GPU it is torch's default, because torch has computed wrong gradients of batch
    normalization in channels last there.
    """
    return torch.contiguous_format if device.type == MPS else torch.channels_last


def to_float64(values: Tensor) -> Tensor:
    """The values in float64, on the CPU if they were on an Apple GPU, which has no float64."""
    return (values.cpu() if values.device.type == MPS else values).double()
