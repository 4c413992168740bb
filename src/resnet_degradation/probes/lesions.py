"""What does a block do for the net? The error without it, one block at a time or several."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_degradation.nets.blocks import Block
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.nets.overrides import named_blocks, replaced_methods
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.rng import generator

SIZE = 64  # of an image that shows how blocks change maps: none of those is a single value


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
    same = keeping_shape(net)
    return {n: block for n, block in named_blocks(net).items() if block.residual or n in same}


def keeping_shape(net: ResNet) -> dict[str, Block]:
    """The blocks that change neither the number of channels nor the map, seen in a pass."""
    blocks = named_blocks(net)
    same: set[str] = set()

    def observe(name: str, before: Tensor, after: Tensor) -> None:
        if before.shape == after.shape:
            same.add(name)

    hooks = [
        block.register_forward_hook(lambda _m, i, out, name=name: observe(name, i[0], out))
        for name, block in blocks.items()
    ]
    first = net.conv1.weight
    with hooked(net, hooks, training=False), torch.no_grad():
        net(torch.zeros(1, first.shape[1], SIZE, SIZE, device=first.device))
    return {name: block for name, block in blocks.items() if name in same}


@contextmanager
def without(blocks: Iterable[Block]) -> Iterator[None]:
    """For a while these blocks have F(x) = 0 if they are residual, and give x if they are plain."""
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(replaced_methods(block, bypass(block)))
        yield


def bypass(block: Block) -> dict[str, Callable[..., Any]]:
    """The methods with which a block has F(x) = 0 if it is residual, and gives x if it is plain.

    A residual block with a `forward` of its own gets zeros from `branch`.
    """
    if not block.residual:
        return {"forward": lambda x: x}
    return {"branch": lambda x: torch.zeros_like(block.shortcut(x))}


def single_lesion(net: ResNet, name: str, error: Callable[[], float]) -> Lesion:
    """The error without one block, of those that are `removable`.

    error: measures the net as it is, in percent.
    """
    with without([named_blocks(net)[name]]):
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
