"""The paper's constructed solution (section 1): a deep plain net that computes a shallower one.

Its added layers are identities; the others are copied from the shallower net.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_degradation.nets.activation_checkpointing import preserve_running_statistics
from resnet_degradation.nets.blocks import BasicBlock
from resnet_degradation.nets.hooks import observed
from resnet_degradation.nets.resnet import ResNet


@torch.no_grad()
def extend(shallow: ResNet, deep: ResNet, batches: Iterable[Tensor]) -> None:
    """Make a deep plain net compute what a shallower one computes, in place.

    Each stage starts with the shallow net's blocks. The added blocks compute the identity: their
    kernels are Dirac kernels, and their batch normalizations undo themselves, because scale and
    shift equal the deviation and mean that they normalize by. Their ReLUs change nothing, because
    the input is already the output of a ReLU. Means and deviations are those of the shallow net's
    feature maps over `batches` of training images (N, 3, H, W). The added blocks are therefore
    identities in evaluation mode (up to rounding), and nearly so in training mode.

    Both are plain nets of basic blocks, which config.validate requires of a run with `extends`.
    """
    stages = [[list(stage.children()) for stage in net.stages()] for net in (shallow, deep)]
    weights = shallow.state_dict()
    for name, value in deep.state_dict().items():
        if name in weights:
            value.copy_(weights[name])
    statistics = stage_statistics(shallow, batches)
    for copied, blocks, (mean, variance) in zip(*stages, statistics, strict=True):
        for block in blocks[len(copied) :]:
            assert isinstance(block, BasicBlock)
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(conv.weight)
                norm.running_mean.copy_(mean)  # type: ignore[union-attr]
                norm.running_var.copy_(variance)  # type: ignore[union-attr]
                norm.weight.copy_((variance + norm.eps).sqrt())
                norm.bias.copy_(mean)


@torch.no_grad()
def stage_statistics(net: ResNet, batches: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance (C,) of each stage's output in training mode, averaged over batches."""
    stages = {str(number): stage for number, stage in enumerate(net.stages())}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in stages}

    def observe(name: str, _input: Tensor, maps: Tensor) -> None:
        found[name].append((maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), correction=0)))

    with (
        observed(net, stages, observe, training=True),
        preserve_running_statistics([net]),
    ):
        for images in batches:
            net(images)
    return [
        (torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0))
        for means, variances in (zip(*per_batch, strict=True) for per_batch in found.values())
    ]
