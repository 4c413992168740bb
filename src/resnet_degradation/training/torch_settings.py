"""Sets torch's process-wide settings for a run, and restores them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from resnet_degradation.training.memory import release_memory

# Maps mixed precisions to the dtype of autocast.
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def restore_settings() -> Iterator[None]:
    """Restore what a run changes in its process, so that the next run is not affected.

    This restores the number of threads, the settings of cuDNN, torch's random state (a custom block
    may draw its initial weights from it) and the warnings already shown, and frees memory. Inside
    the block, the default dtype and device, gradients and autocast have torch's defaults, whatever
    the caller has set.
    """
    num_threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    backend_settings = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    default_is_cpu = torch.get_default_device().type == "cpu"
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
        leave_autocast(),
        nullcontext() if default_is_cpu else torch.device("cpu"),
    ):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(num_threads)
            cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = backend_settings
            release_memory()


@contextmanager
def leave_autocast() -> Iterator[None]:
    """Leave the caller's autocast contexts inside the block.

    `torch.autocast(enabled=False)` is not enough: until the caller's outermost autocast ends, torch
    keeps the casts of weights, so bf16 steps would reuse casts of old weights.
    """
    enabled = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    depth = torch.autocast_increment_nesting()
    for _ in range(depth):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()
    for device in enabled:
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        for device in enabled:
            torch.set_autocast_enabled(device, True)
        for _ in range(depth - 1):
            torch.autocast_increment_nesting()


def set_arithmetic(precision: str) -> None:
    """Allow TF32 only if it is the chosen precision, and only deterministic convolutions.

    By default, torch's convolutions on a GPU use TF32 and sum gradients in a varying order.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
