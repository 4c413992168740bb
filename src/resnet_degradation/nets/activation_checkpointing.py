"""Activation checkpointing: the backward pass recomputes activations instead of keeping them.

A net of 1202 layers keeps gigabytes of activations. With checkpointing, it keeps only the input of
each segment of blocks. The gradients are bit-identical.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.nets.cost import LayerCost

BYTES_PER_VALUE = 4  # float32

# For each block of each stage: the bytes of all its activations, and the bytes of its output.
StageBytes = list[list[tuple[int, int]]]


def run_blocks(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply consecutive blocks to feature maps of shape (N, C, H, W)."""
    for block in blocks:
        x = block(x)
    return x


def run_checkpointed(
    blocks: list[nn.Module], x: Tensor, length: int, *, keep_last: bool, preserve_rng: bool
) -> Tensor:
    """Apply blocks like `run_blocks`, but keep only the input of each segment of `length` blocks.

    keep_last: keep all activations of the last segment. In the net's last stage, the backward pass
        starts with this segment, so recomputing it would not save memory.
    preserve_rng: let the recomputation draw the same random numbers as the forward pass.
    """
    for first in range(0, len(blocks), length):
        segment = blocks[first : first + length]
        if keep_last and first + length >= len(blocks):
            return run_blocks(segment, x)
        parameters = (p for block in segment for p in block.parameters() if p.requires_grad)
        x = _Segment.apply(segment, preserve_rng, x, *parameters)
    return x


class _Segment(torch.autograd.Function):
    """Consecutive blocks that keep only their input.

    torch.utils.checkpoint does the same with hooks on every saved tensor. Hooks cost time and
    allocate small objects between the activations, which fragments the memory.
    """

    @staticmethod
    def forward(
        ctx: Any, blocks: list[nn.Module], preserve_rng: bool, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        device_type = x.device.type
        ctx.blocks, ctx.parameters = blocks, parameters
        ctx.autocast = {
            "device_type": device_type,
            "enabled": torch.is_autocast_enabled(device_type),
            "dtype": torch.get_autocast_dtype(device_type),
            # The cache may contain weights that were cast without gradients.
            "cache_enabled": False,
        }
        ctx.rng = torch.get_rng_state() if preserve_rng else None
        ctx.cuda_rng = torch.cuda.get_rng_state(x.device) if preserve_rng and x.is_cuda else None
        ctx.save_for_backward(x)
        return run_blocks(blocks, x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (saved,) = ctx.saved_tensors
        x = saved.detach().requires_grad_()
        with (
            torch.enable_grad(),
            torch.autocast(**ctx.autocast),
            preserve_running_statistics(ctx.blocks),
            torch.random.fork_rng([x.device] if x.is_cuda else [], enabled=ctx.rng is not None),
        ):
            if ctx.rng is not None:
                torch.set_rng_state(ctx.rng)
            if ctx.cuda_rng is not None:
                torch.cuda.set_rng_state(ctx.cuda_rng)
            out = run_blocks(ctx.blocks, x)
        inputs = (x, *ctx.parameters)
        return None, None, *torch.autograd.grad(out, inputs, grad, allow_unused=True)


@contextmanager
def preserve_running_statistics(blocks: list[nn.Module]) -> Iterator[None]:
    """Let blocks in training mode update temporary copies of their running statistics."""
    modules = [m for block in blocks for m in block.modules() if m._buffers]
    originals = [dict(module._buffers) for module in modules]
    for module, buffers in zip(modules, originals, strict=True):
        module._buffers.update({n: None if v is None else v.clone() for n, v in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in zip(modules, originals, strict=True):
            module._buffers.update(buffers)


def activation_bytes(costs: list[LayerCost]) -> StageBytes:
    """Compute the bytes of each block's activations and output, for one image in float32.

    The activations are the outputs of each convolution and of the normalization after it.
    Projection shortcuts are left out.
    """
    stages: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for cost in costs:
        stage, *rest = cost.name.removeprefix("layer").split(".")
        if len(cost.output_shape) == 3 and stage.isdigit() and "downsample" not in rest:
            stages[stage][rest[0]].append(BYTES_PER_VALUE * math.prod(cost.output_shape))
    return [
        [(2 * sum(outputs), outputs[-1]) for outputs in blocks.values()]
        for blocks in stages.values()
    ]


def choose_segment_lengths(stages: StageBytes) -> list[int]:
    """Choose the number of blocks per segment in each stage that minimizes the peak memory.

    Each of a stage's n blocks is assumed to have m bytes of activations and b bytes of output, like
    its last block. With k blocks per segment, the backward pass recomputes k m bytes at a time, and
    n / k inputs of b bytes are kept. If a segment has p = k m bytes in every stage, the peak is
    sum(n b m) / p + p bytes. This is smallest if p is the square root of sum(n b m).
    """
    sizes = [(len(blocks), *blocks[-1]) for blocks in stages]
    segment_bytes = math.sqrt(sum(n * activations * output for n, activations, output in sizes))
    return [min(n, max(1, round(segment_bytes / activations))) for n, activations, _ in sizes]
