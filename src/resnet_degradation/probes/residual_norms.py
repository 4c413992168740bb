"""Compares F(x) with shortcut(x), the two terms of equation 1, by their norms, block by block."""

from collections.abc import Iterable

import torch
from torch import Tensor

from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.layers import ResidualNorms
from resnet_degradation.system.apple_gpu import to_float64


@torch.no_grad()
def residual_norms(net: ResNet, batches: Iterable[Tensor]) -> list[ResidualNorms]:
    """The norms of F(x) and shortcut(x) of every residual block, averaged over the images.

    batches: images (N, 3, H, W). The net is in evaluation mode. Returns an empty list for a plain
    net, which has no shortcuts.
    """
    blocks = {name: block for name, block in net.blocks().items() if block.residual}
    # Both norms and their ratio, summed over images; the number of images.
    totals = {name: torch.zeros(4, dtype=torch.float64) for name in blocks}
    is_identity = dict.fromkeys(blocks, True)

    def observe(name: str, x: Tensor, _output: Tensor) -> None:
        added = blocks[name].shortcut(x)
        is_identity[name] &= added is x or torch.equal(added, x)
        summands = (blocks[name].branch(x), added)
        branch, shortcut = (to_float64(part.flatten(1)).norm(dim=1) for part in summands)
        ratio = branch / shortcut.clamp(min=1e-12)
        sums = [branch.sum(), shortcut.sum(), ratio.sum(), torch.full_like(ratio[0], len(x))]
        totals[name] += torch.stack(sums).cpu()

    if blocks:
        with observe_modules(net, blocks, observe, training=False):
            for images in batches:
                net(images)
    norms = []
    for number, (name, total) in enumerate(totals.items(), 1):
        branch, shortcut, ratio = (total[:3] / total[3]).tolist()
        norms.append(ResidualNorms(number, name, branch, shortcut, ratio, is_identity[name]))
    return norms
