"""Finds a batch size that fits when a training step runs out of GPU memory."""

from contextlib import closing, suppress

import torch

from resnet_degradation.system.errors import ConfigError, is_out_of_memory
from resnet_degradation.training.build import start_momentum_at_zero
from resnet_degradation.training.memory import free_memory, release_memory
from resnet_degradation.training.state import Run
from resnet_degradation.training.step import Step, update

# Share of the memory that tensors can fill. Gaps between them take the rest.
USABLE = 0.95


def try_step(run: Run, step: Step, lr: float) -> None:
    """Train one iteration. Raises ConfigError if it does not fit into the memory of a GPU."""
    try:
        step(lr)
        return
    except RuntimeError as error:
        # With several processes, a step that only one of them tries would wait for the others.
        if not is_out_of_memory(error) or run.device.type != "cuda" or run.world.size > 1:
            raise
    # Outside the except block, which keeps the tensors of the failed step in memory.
    raise too_large(run)


def too_large(run: Run) -> ConfigError:
    """The error to raise, which names a batch size that fits. The run cannot be used afterwards."""
    size = run.config.recipe.batch_size
    if run.config.recipe.momentum > 0:
        start_momentum_at_zero(run.optimizer)  # so that every measured step includes it
    peaks: dict[int, int] = {}
    tried = size // 2
    while tried >= 2 and len(peaks) < 2:
        # RuntimeError, because libraries report a lack of memory with other errors than torch.
        with suppress(RuntimeError):
            peaks[tried] = peak_of_step(run, tried)
        tried //= 2
    fits = f"{max(peaks)} does" if peaks else "no smaller one does"
    if len(peaks) == 2 and (estimate := largest_batch(usable_memory(run), peaks)) > max(peaks):
        fits += f", and, judging by memory, about {min(estimate, size - 1)} should"
    recompute = "" if run.net.segment_lengths else "set runtime.checkpoint_activations=on, or "
    return ConfigError(
        f"out of memory: recipe.batch_size={size} does not fit into this GPU; {fits}. Lower it, or "
        f"{recompute}try a smaller width or data.image_size"
    )


def largest_batch(usable: float, peaks: dict[int, int]) -> int:
    """The largest batch that needs at most `usable` bytes, by the line through two measurements.

    peaks: the most bytes that a step took, for two batch sizes. The bytes consist of a fixed part
    (weights, momentum, gradients) and a part for each image. Returns 0 if no line rises through
    the two points.
    """
    (small, low), (large, high) = sorted(peaks.items())
    per_image = (high - low) / (large - small)
    return int(small + (usable - low) / per_image) if per_image > 0 else 0


def peak_of_step(run: Run, size: int) -> int:
    """The most bytes that tensors take on the GPU in a step with this many images."""
    release_memory()
    torch.cuda.reset_peak_memory_stats()
    with closing(run.batches.training(0, 1)) as batches:
        images, labels = next(batches)
    update(run, run.net, images[:size], labels[:size], lr=0.0)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def usable_memory(run: Run) -> float:
    """The bytes that tensors of this process can fill on its GPU."""
    release_memory()
    return USABLE * ((free_memory(run.device) or 0) + torch.cuda.memory_reserved())
