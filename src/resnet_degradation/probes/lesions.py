"""Removes blocks from a net temporarily, to measure its error without them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from resnet_degradation.nets.blocks import Block
from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.nets.overrides import replace_methods
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.rng import generator

# Image size in pixels that makes every feature map larger than 1x1. A stride does not change the
# shape of a 1x1 map.
IMAGE_SIZE = 64


def removable_blocks(net: ResNet) -> list[str]:
    """The names of the blocks that can be removed.

    A residual block can always be removed, because its shortcut remains. A plain block is replaced
    with the identity, so its output must have the same shape as its input.
    """
    preserving = shape_preserving_blocks(net)
    return [name for name, block in net.blocks().items() if block.residual or name in preserving]


@torch.no_grad()
def shape_preserving_blocks(net: ResNet) -> list[str]:
    """The names of the blocks whose output has the same shape as their input."""
    names: list[str] = []

    def record(name: str, block_input: Tensor, output: Tensor) -> None:
        if block_input.shape == output.shape:
            names.append(name)

    with observe_modules(net, net.blocks(), record, training=False):
        net(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, device=net.conv1.weight.device))
    return names


@contextmanager
def bypass_blocks(blocks: Iterable[Block]) -> Iterator[None]:
    """Temporarily set F(x) = 0 in residual blocks, and replace plain blocks with the identity."""
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(replace_methods(block, _bypass_methods(block)))
        yield


def _bypass_methods(block: Block) -> dict[str, Callable[..., Any]]:
    if not block.residual:
        return {"forward": lambda x: x}
    return {"branch": lambda x: torch.zeros_like(block.shortcut(x))}


def measure_without_blocks(
    net: ResNet, names: Iterable[str], measure_error: Callable[[], float]
) -> float:
    """Temporarily remove some of the `removable_blocks`, and call `measure_error`."""
    blocks = net.blocks()
    with bypass_blocks(blocks[name] for name in names):
        return measure_error()


def draw_random_blocks(net: ResNet, count: int, draws: int, seed: int) -> list[list[str]]:
    """Draw the names of `count` random blocks to remove; repeat this `draws` times.

    Only `shape_preserving_blocks` are drawn, so a plain and a residual net of the same depth lose
    the same blocks with the same seed. There must be at least `count` of them.
    """
    candidates = shape_preserving_blocks(net)
    samples = []
    for draw in range(draws):
        rng = generator("lesion", seed, count, draw)
        indices = torch.randperm(len(candidates), generator=rng)[:count].sort().values.tolist()
        samples.append([candidates[i] for i in indices])
    return samples
