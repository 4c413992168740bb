"""Compares the norms of F(x) and shortcut(x), the two terms of equation 1, in each block."""

from collections.abc import Iterable

import torch
from torch import Tensor

from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.layers import ResidualNorms
from resnet_degradation.system.apple_gpu import to_float64


@torch.no_grad()
def measure_residual_norms(net: ResNet, batches: Iterable[Tensor]) -> list[ResidualNorms]:
    """Measure the norms of F(x) and shortcut(x) of each residual block, averaged over images.

    The net is in evaluation mode. Returns an empty list for a plain net, which has no shortcuts.

    batches: images of shape (N, 3, H, W).
    """
    blocks = {name: block for name, block in net.blocks().items() if block.residual}
    # The sums over images of both norms and of their ratio, and the number of images.
    totals = {name: torch.zeros(4, dtype=torch.float64) for name in blocks}
    is_identity = dict.fromkeys(blocks, True)

    def record(name: str, x: Tensor, _output: Tensor) -> None:
        shortcut = blocks[name].shortcut(x)
        is_identity[name] &= shortcut is x or torch.equal(shortcut, x)
        terms = (blocks[name].branch(x), shortcut)
        branch_norm, shortcut_norm = (to_float64(term.flatten(1)).norm(dim=1) for term in terms)
        ratio = branch_norm / shortcut_norm.clamp(min=1e-12)
        num_images = torch.full_like(ratio[0], len(x))
        sums = [branch_norm.sum(), shortcut_norm.sum(), ratio.sum(), num_images]
        totals[name] += torch.stack(sums).cpu()

    if blocks:
        with observe_modules(net, blocks, record, training=False):
            for images in batches:
                net(images)
    norms = []
    for number, (name, total) in enumerate(totals.items(), 1):
        branch, shortcut, ratio = (total[:3] / total[3]).tolist()
        norms.append(ResidualNorms(number, name, branch, shortcut, ratio, is_identity[name]))
    return norms
