"""The paper's solution by construction (section 1): a deep net equivalent to a shallower net.

Its layers are copied from the shallower net, and the added layers are identities.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_degradation.nets.activation_checkpointing import preserve_running_statistics
from resnet_degradation.nets.blocks import BasicBlock
from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.nets.resnet import ResNet


@torch.no_grad()
def extend(shallow: ResNet, deep: ResNet, batches: Iterable[Tensor]) -> None:
    """Set the weights of a deep plain net so that it computes the same as a shallower net.

    Each stage starts with the shallow net's blocks. The added blocks compute the identity: their
    kernels are Dirac kernels, and their batch normalizations have no effect, because the scale and
    shift equal the standard deviation and mean. The ReLUs have no effect, because the input is
    already the output of a ReLU. The means and variances are those of the shallow net's feature
    maps over `batches` of training images of shape (N, 3, H, W). So the added blocks are identities
    in evaluation mode, up to rounding, and almost identities in training mode.

    Both nets must be plain and have basic blocks. For runs, config.validate checks this.
    """
    stages = [[list(stage.children()) for stage in net.stages()] for net in (shallow, deep)]
    weights = shallow.state_dict()
    for name, value in deep.state_dict().items():
        if name in weights:
            value.copy_(weights[name])
    statistics = stage_statistics(shallow, batches)
    for copied_blocks, blocks, (mean, variance) in zip(*stages, statistics, strict=True):
        for block in blocks[len(copied_blocks) :]:
            assert isinstance(block, BasicBlock)
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(conv.weight)
                norm.running_mean.copy_(mean)  # type: ignore[union-attr]
                norm.running_var.copy_(variance)  # type: ignore[union-attr]
                norm.weight.copy_((variance + norm.eps).sqrt())
                norm.bias.copy_(mean)


@torch.no_grad()
def stage_statistics(net: ResNet, batches: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Measure the mean and variance of each stage's output, averaged over batches.

    Both have the shape (C,). The net is in training mode.
    """
    stages = {str(number): stage for number, stage in enumerate(net.stages())}
    statistics: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in stages}

    def record(name: str, _input: Tensor, maps: Tensor) -> None:
        statistics[name].append((maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), correction=0)))

    with (
        observe_modules(net, stages, record, training=True),
        preserve_running_statistics([net]),
    ):
        for images in batches:
            net(images)
    return [
        (torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0))
        for means, variances in (zip(*per_batch, strict=True) for per_batch in statistics.values())
    ]
