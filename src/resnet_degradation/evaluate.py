"""The error of a net on held-out images."""

from collections.abc import Callable
from contextlib import closing

import torch
from torch import nn

from resnet_degradation.data.batches import Batches
from resnet_degradation.distributed import ALONE, World


def _nothing() -> None:
    pass


@torch.no_grad()
def top1_error(
    net: nn.Module,
    batches: Batches,
    split: str,
    between_batches: Callable[[], None] = _nothing,
    world: World = ALONE,
) -> float:
    """The top-1 error in percent on every image of `split`, by its single centre view.

    The net is evaluated with its running statistics and left in the mode it was in, also if
    `between_batches` ends the evaluation by raising something. The processes of a world count the
    wrong answers to their own images, and add them up.
    """
    was_training = net.training
    net.eval()
    num_wrong = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
    try:
        with closing(batches.held_out(split)) as held_out:
            for images, labels in held_out:
                if len(labels) > 0:
                    num_wrong += (net(images).argmax(dim=1) != labels).sum()
                between_batches()
    finally:
        net.train(was_training)
    return 100 * int(world.sum(num_wrong)) / batches.splits[split]


def held_out_errors(
    net: nn.Module,
    batches: Batches,
    between_batches: Callable[[], None] = _nothing,
    world: World = ALONE,
) -> dict[str, float]:
    """The top-1 error in percent on every held-out split, by its name."""
    return {
        split: top1_error(net, batches, split, between_batches, world) for split in batches.splits
    }
