"""Measures the error of a net without one of its blocks, or without several."""

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

# Side of an image in pixels: large enough for every feature map to exceed 1x1, where a stride would
# not change the shape.
SIZE = 64


def removable_blocks(net: ResNet) -> list[str]:
    """The names of the blocks that can be removed.

    A residual block without F(x) still has its shortcut, so it can always be removed. A plain
    block is replaced by the identity, so its output must have the shape of its input.
    """
    same = shape_preserving_blocks(net)
    return [name for name, block in net.blocks().items() if block.residual or name in same]


@torch.no_grad()
def shape_preserving_blocks(net: ResNet) -> list[str]:
    """The names of the blocks whose output has the shape of their input."""
    same: list[str] = []

    def observe(name: str, before: Tensor, after: Tensor) -> None:
        if before.shape == after.shape:
            same.append(name)

    with observe_modules(net, net.blocks(), observe, training=False):
        net(torch.zeros(1, 3, SIZE, SIZE, device=net.conv1.weight.device))
    return same


@contextmanager
def bypassed(blocks: Iterable[Block]) -> Iterator[None]:
    """Temporarily set F(x) = 0 in residual blocks, and make plain blocks the identity."""
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(replace_methods(block, _bypass(block)))
        yield


def _bypass(block: Block) -> dict[str, Callable[..., Any]]:
    if not block.residual:
        return {"forward": lambda x: x}
    return {"branch": lambda x: torch.zeros_like(block.shortcut(x))}


def error_without(net: ResNet, names: Iterable[str], error: Callable[[], float]) -> float:
    """Call `error` while some of the `removable_blocks` are removed, and return its result."""
    blocks = net.blocks()
    with bypassed(blocks[name] for name in names):
        return error()


def random_blocks(net: ResNet, count: int, draws: int, seed: int) -> list[list[str]]:
    """The names of `count` random blocks to remove, drawn `draws` times.

    Only blocks whose output has the shape of their input are drawn. So, with the same seed, a plain
    and a residual net of the same depth lose the same blocks. There must be at least `count`.
    """
    candidates = shape_preserving_blocks(net)
    chosen = []
    for draw in range(draws):
        rng = generator("lesion", seed, count, draw)
        indices = torch.randperm(len(candidates), generator=rng)[:count].sort().values.tolist()
        chosen.append([candidates[i] for i in indices])
    return chosen
