"""How large is F(x) beside x? The two summands of equation 1, block by block."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from resnet_degradation.nets.blocks import Block
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.nets.overrides import named_blocks
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.inspection import BlockSizes


@torch.no_grad()
def block_sizes(net: ResNet, batches: Iterable[Tensor]) -> list[BlockSizes]:
    """How large both summands of every block are, over batches of images (N, C, H, W).

    Measured in evaluation mode; the net is left in the mode it was in. A plain net has no
    shortcuts, and gives an empty list.
    """
    blocks = {name: block for name, block in named_blocks(net).items() if block.residual}
    if not blocks:
        return []
    # Sums over images of both norms and of their ratio; the number of images.
    totals = {name: torch.zeros(4, dtype=torch.float64) for name in blocks}
    is_identity = dict.fromkeys(blocks, True)

    def observe(name: str, block: Block, x: Tensor) -> None:
        added = block.shortcut(x)
        is_identity[name] &= added is x or torch.equal(added, x)
        branch, shortcut = (
            part.flatten(1).double().norm(dim=1) for part in (block.branch(x), added)
        )
        ratio = branch / shortcut.clamp(min=1e-12)
        sums = [branch.sum(), shortcut.sum(), ratio.sum(), torch.full_like(ratio[0], len(x))]
        totals[name] += torch.stack(sums).cpu()

    def hook(name: str) -> Any:
        return lambda block, inputs: observe(name, block, inputs[0])

    hooks = [block.register_forward_pre_hook(hook(name)) for name, block in blocks.items()]
    with hooked(net, hooks, training=False):
        for images in batches:
            net(images)
    sizes = []
    for number, name in enumerate(blocks, 1):
        branch, shortcut, ratio = (totals[name][:3] / totals[name][3]).tolist()
        sizes.append(BlockSizes(number, name, branch, shortcut, ratio, is_identity[name]))
    return sizes
