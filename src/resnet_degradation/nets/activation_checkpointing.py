"""Trading time for memory: activations that the backward pass computes again.

A net of 1202 layers keeps gigabytes of activations for its backward pass. In segments of blocks,
only what enters a segment is kept, and the backward pass runs the segment forward once more. The
gradients are the same to the bit.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.nets.cost import LayerCost

BYTES = 4  # of a float32

# For each block of each stage: the bytes that it keeps for its backward pass, and hands on.
Stages = list[list[tuple[int, int]]]


def run_blocks(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What comes out of blocks in a row, of maps (N, C, H, W)."""
    for block in blocks:
        x = block(x)
    return x


def run_checkpointed(
    blocks: list[nn.Module], x: Tensor, length: int, *, keep_last: bool, own: bool
) -> Tensor:
    """What comes out of blocks in a row; activations inside of `length` of them are not kept.

    x: maps (N, C, H, W), the only thing that is kept of a segment for the backward pass.
    keep_last: keep all of the last segment. The last one of a net is the first that the backward
        pass needs, so nothing is spared by computing it again.
    own: the blocks are not the paper's: they may draw at random, and then draw the same again.
    """
    for first in range(0, len(blocks), length):
        segment = blocks[first : first + length]
        if keep_last and first + length >= len(blocks):
            return run_blocks(segment, x)
        parameters = (p for block in segment for p in block.parameters() if p.requires_grad)
        x = _Segment.apply(segment, own, x, *parameters)
    return x


class _Segment(torch.autograd.Function):
    """Blocks in a row that keep nothing but what enters them.

    torch.utils.checkpoint does the same by hooks on every tensor that is saved. They cost time, and
    the nodes that they hang on are small pieces of memory which lie among the maps until the end of
    the step, so that freed maps do not make room for others.
    """

    @staticmethod
    def forward(
        ctx: Any, blocks: list[nn.Module], own: bool, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        """(N, C, H, W) -> what the last of the blocks gives."""
        kind = x.device.type
        ctx.blocks, ctx.parameters = blocks, parameters
        ctx.autocast = {
            "device_type": kind,
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
            # Weights that were cast without gradients would be found in the cache.
            "cache_enabled": False,
        }
        ctx.random = _random_states(x) if own else []
        ctx.save_for_backward(x)
        return run_blocks(blocks, x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of the parameters, from a gradient of the output's shape."""
        (saved,) = ctx.saved_tensors
        x = saved.detach().requires_grad_()
        with (
            torch.enable_grad(),
            torch.autocast(**ctx.autocast),
            freeze_running_statistics(ctx.blocks),
            _drawing_again(x, ctx.random),
        ):
            out = run_blocks(ctx.blocks, x)
        inputs = (x, *ctx.parameters)
        return None, None, *torch.autograd.grad(out, inputs, grad, allow_unused=True)


def _random_states(x: Tensor) -> list[Tensor]:
    """The states of torch's generators that layers draw from: the CPU's and that of x's GPU."""
    on_gpu = [torch.cuda.get_rng_state(x.device)] if x.is_cuda else []
    return [torch.get_rng_state(), *on_gpu]


@contextmanager
def _drawing_again(x: Tensor, states: list[Tensor]) -> Iterator[None]:
    """Layers draw what they drew from these states on; the generators are left as they are now."""
    with torch.random.fork_rng([x.device] if x.is_cuda else [], enabled=bool(states)):
        for state, put_back in zip(
            states, (torch.set_rng_state, torch.cuda.set_rng_state), strict=False
        ):
            put_back(state)
        yield


@contextmanager
def freeze_running_statistics(blocks: list[nn.Module]) -> Iterator[None]:
    """Blocks in training mode that update copies of their running statistics, soon forgotten."""
    modules = [m for block in blocks for m in block.modules() if m._buffers]
    kept = [dict(module._buffers) for module in modules]
    for module, buffers in zip(modules, kept, strict=True):
        module._buffers.update({n: None if v is None else v.clone() for n, v in buffers.items()})
    try:
        yield
    finally:
        for module, buffers in zip(modules, kept, strict=True):
            module._buffers.update(buffers)


def activation_bytes(costs: list[LayerCost]) -> Stages:
    """What each block of each stage keeps for its backward pass, and what it hands on, in bytes.

    For one image in float32. Kept are the output of every convolution and the output of the
    normalization after it; the last of those is what the block hands on.
    """
    values: dict[tuple[int, int], list[int]] = defaultdict(list)
    for cost in costs:
        stage, *rest = cost.name.removeprefix("layer").split(".")
        is_map = len(cost.output_shape) == 3
        if is_map and stage.isdigit() and "downsample" not in rest:
            values[int(stage), int(rest[0])].append(math.prod(cost.output_shape))
    stages: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (number, _), outputs in values.items():
        stages[number].append((2 * BYTES * sum(outputs), BYTES * outputs[-1]))
    return list(stages.values())


def segment_lengths(stages: Stages) -> list[int]:
    """How many blocks of each stage make a segment, for the least peak of memory.

    A segment of a stage whose n blocks keep m bytes each and hand on b takes k m bytes while it is
    computed again, and n / k of its inputs, b bytes each, are kept. With the same k m = p for all
    stages, sum(n b m) / p + p is least where p is the square root of that sum. The last block of a
    stage stands for all of them.
    """
    sizes = [(len(blocks), *blocks[-1]) for blocks in stages]
    peak = math.sqrt(sum(n * kept * handed_on for n, kept, handed_on in sizes))
    return [min(n, max(1, round(peak / kept))) for n, kept, _ in sizes]
