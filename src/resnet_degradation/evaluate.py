"""The error of a net on held-out images."""

import torch
from torch import nn

from resnet_degradation.data.batches import Batches


@torch.no_grad()
def top1_error(net: nn.Module, batches: Batches, split: str) -> float:
    """The top-1 error in percent on every image of `split`, by its single centre view.

    The net is evaluated with its running statistics and left in the mode it was in.
    """
    was_training = net.training
    net.eval()
    num_wrong = torch.zeros((), dtype=torch.int64, device=next(net.parameters()).device)
    for images, labels in batches.held_out(split):
        num_wrong += (net(images).argmax(dim=1) != labels).sum()
    net.train(was_training)
    return 100 * int(num_wrong) / batches.splits[split]


def held_out_errors(net: nn.Module, batches: Batches) -> dict[str, float]:
    """The top-1 error in percent on every held-out split, by its name."""
    return {split: top1_error(net, batches, split) for split in batches.splits}
