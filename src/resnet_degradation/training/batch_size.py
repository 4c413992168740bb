"""Finds a batch size that fits when a training step runs out of GPU memory."""

from contextlib import closing, suppress

import torch

from resnet_degradation.system.errors import ConfigError, is_out_of_memory
from resnet_degradation.training.build import initialize_momentum
from resnet_degradation.training.memory import get_free_memory, release_memory
from resnet_degradation.training.state import Run
from resnet_degradation.training.step import Step, update

# Share of GPU memory that tensors can fill. Fragmentation takes the rest.
USABLE_SHARE = 0.95


def try_step(run: Run, step: Step, lr: float) -> None:
    """Train one iteration. Raises ConfigError if the GPU runs out of memory."""
    try:
        step(lr)
        return
    except RuntimeError as error:
        # With several processes, retrying a step in only one would hang, waiting for the others.
        if not is_out_of_memory(error) or run.device.type != "cuda" or run.world.size > 1:
            raise
    # Raise after the except block, inside which the tensors of the failed step stay in memory.
    raise out_of_memory_error(run)


def out_of_memory_error(run: Run) -> ConfigError:
    """Make an error that names a batch size that fits. The run cannot be used afterwards."""
    size = run.config.recipe.batch_size
    if run.config.recipe.momentum > 0:
        initialize_momentum(run.optimizer)  # so that the measurements include it
    peaks: dict[int, int] = {}
    smaller = size // 2
    while smaller >= 2 and len(peaks) < 2:
        # Suppress any RuntimeError: some libraries do not raise torch's out-of-memory error.
        with suppress(RuntimeError):
            peaks[smaller] = measure_peak_memory(run, smaller)
        smaller //= 2
    fitting_sizes = f"{max(peaks)} fits" if peaks else "no smaller size fits"
    if len(peaks) == 2:
        estimate = estimate_largest_batch(get_usable_memory(run), peaks)
        if estimate > max(peaks):
            fitting_sizes += f", and about {min(estimate, size - 1)} should fit"
    checkpointing_hint = (
        "" if run.net.segment_lengths else "set runtime.checkpoint_activations=on, or "
    )
    return ConfigError(
        f"out of memory: recipe.batch_size={size} does not fit on this GPU; {fitting_sizes}. Lower "
        f"recipe.batch_size, or {checkpointing_hint}try a smaller width or data.image_size"
    )


def estimate_largest_batch(usable: float, peaks: dict[int, int]) -> int:
    """Estimate the largest batch that needs at most `usable` bytes, from two measurements.

    peaks: maps two batch sizes to the peak memory of a step in bytes. Memory is assumed to have a
    fixed part (weights, momentum, gradients) and a part that is proportional to the batch size.
    Returns 0 if memory does not grow with the batch size.
    """
    (small, low), (large, high) = sorted(peaks.items())
    per_image = (high - low) / (large - small)
    return int(small + (usable - low) / per_image) if per_image > 0 else 0


def measure_peak_memory(run: Run, size: int) -> int:
    """Measure the peak GPU memory, in bytes, of a step with `size` images."""
    release_memory()
    torch.cuda.reset_peak_memory_stats()
    with closing(run.batches.training(0, 1)) as batches:
        images, labels = next(batches)
    update(run, run.net, images[:size], labels[:size], lr=0.0)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def get_usable_memory(run: Run) -> float:
    """Return how many bytes of GPU memory the tensors of this process can fill."""
    release_memory()
    return USABLE_SHARE * ((get_free_memory(run.device) or 0) + torch.cuda.memory_reserved())
