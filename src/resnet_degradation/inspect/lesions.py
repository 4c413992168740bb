"""What does a block do for the net? The error without it, one block at a time or several."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.inspect.residuals import named_blocks
from resnet_degradation.nets import ResNet
from resnet_degradation.nets.blocks import Block
from resnet_degradation.seeding import generator


@dataclass(frozen=True)
class Lesion:
    """The error in percent of a net without some of its blocks."""

    blocks: tuple[str, ...]
    error: float


def removable(net: ResNet) -> dict[str, Block]:
    """The blocks that a net can do without: its output has a shape that the next one takes.

    Of a residual block the shortcut remains, so it can always be removed. A plain block is left
    out altogether, which only one can be that changes neither the number of channels nor the map.
    """
    return {
        name: block
        for name, block in named_blocks(net).items()
        if block.residual or _keeps_shape(block)
    }


def keeping_shape(net: ResNet) -> dict[str, Block]:
    """The blocks that change neither the number of channels nor the map."""
    return {name: block for name, block in named_blocks(net).items() if _keeps_shape(block)}


def _keeps_shape(block: Block) -> bool:
    convolutions = [layer for layer in block.children() if isinstance(layer, torch.nn.Conv2d)]
    stride = max(layer.stride[0] for layer in convolutions)
    return stride == 1 and convolutions[0].in_channels == convolutions[-1].out_channels


@contextmanager
def without(blocks: Iterable[Block]) -> Iterator[None]:
    """These blocks give their shortcut alone, or their input if they are plain, for a while."""

    def bypassed(block: Block) -> Callable[[Tensor], Tensor]:
        return lambda x: F.relu(block.shortcut(x)) if block.residual else x

    chosen = list(blocks)
    for block in chosen:
        block.forward = bypassed(block)  # type: ignore[assignment]
    try:
        yield
    finally:
        for block in chosen:
            del block.forward


def single_lesion(net: ResNet, name: str, error: Callable[[], float]) -> Lesion:
    """The error without one block that can be removed.

    error: measures the net as it is, in percent.
    """
    with without([removable(net)[name]]):
        return Lesion((name,), error())


def random_lesions(
    net: ResNet, error: Callable[[], float], count: int, draws: int, seed: int
) -> list[Lesion]:
    """The error without `count` blocks chosen at random, `draws` times.

    Only blocks that keep the shape of their input are chosen, so that plain and residual nets of
    one depth lose, for one seed, the same ones. Raises ValueError if there are fewer of them.
    """
    candidates = keeping_shape(net)
    if count > len(candidates):
        raise ValueError(f"{count} blocks cannot be removed of {len(candidates)}")
    lesions = []
    for draw in range(draws):
        rng = generator("lesion", seed, count, draw)
        chosen = torch.randperm(len(candidates), generator=rng)[:count].sort().values.tolist()
        names = [list(candidates)[i] for i in chosen]
        with without(candidates[name] for name in names):
            lesions.append(Lesion(tuple(names), error()))
    return lesions
