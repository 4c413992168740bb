"""The solution that exists: a deeper plain net that computes what a shallower one does.

The paper's argument that a deeper net need not train worse (section 1): its added layers are
identities, the others are copied from the shallower net.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_degradation.nets.activation_checkpointing import freeze_running_statistics
from resnet_degradation.nets.blocks import BasicBlock
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.errors import ConfigError


@torch.no_grad()
def extend(shallow: ResNet, deep: ResNet, batches: Iterable[Tensor]) -> None:
    """Give a deep plain net the weights with which it computes what a shallower one computes.

    Each stage of the deep net begins with the shallow net's blocks and goes on with identities:
    convolutions with Dirac kernels, which leave maps as they are, and normalizations that undo
    themselves, because they scale and shift by the very deviation and mean that they normalize by.
    ReLU changes nothing, as what comes from one is not negative. The means and deviations are
    those of the shallow net's maps over `batches` of training images (N, C, H, W), measured as in
    training; so added layers are identities in evaluation mode (but for rounding), and in training
    mode as far as a batch's statistics are those of all.

    Raises ConfigError unless both are plain nets of basic blocks, and one extends the other.
    """
    _check(shallow, deep)
    own = shallow.state_dict()
    statistics = stage_statistics(shallow, batches)
    for name, value in deep.state_dict().items():
        if name in own:
            value.copy_(own[name])
    stages = zip(shallow.stages(), deep.stages(), statistics, strict=True)
    for copied, stage, (mean, variance) in stages:
        for block in list(stage.children())[len(list(copied.children())) :]:
            assert isinstance(block, BasicBlock)
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                nn.init.dirac_(conv.weight)
                norm.running_mean.copy_(mean)  # type: ignore[union-attr]
                norm.running_var.copy_(variance)  # type: ignore[union-attr]
                norm.weight.copy_((variance + norm.eps).sqrt())
                norm.bias.copy_(mean)


def _check(shallow: ResNet, deep: ResNet) -> None:
    blocks = [m for net in (shallow, deep) for s in net.stages() for m in s.children()]
    # A subclass may compute something else, of which these weights make no identity.
    if not all(type(block) is BasicBlock and not block.residual for block in blocks):
        raise ConfigError(
            "only a plain net of basic blocks (no bottlenecks, no custom blocks) extends another: "
            "residual=false"
        )
    lengths = [[len(list(stage.children())) for stage in net.stages()] for net in (shallow, deep)]
    if len(lengths[0]) != len(lengths[1]) or any(
        few > many for few, many in zip(*lengths, strict=True)
    ):
        raise ConfigError(
            f"a net of depth {deep.arch.depth} does not extend one of depth {shallow.arch.depth} "
            f"of the {shallow.arch.family} family: name a shallower one"
        )


@torch.no_grad()
def stage_statistics(net: ResNet, batches: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance (C,) of the maps that each stage gives, over batches of images.

    Means and variances of batches are averaged, as running statistics are. In training mode, with
    the net's own running statistics left alone.
    """
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in net.stages()]
    hooks = [
        stage.register_forward_hook(
            lambda _m, _i, maps, sums=sums: sums.append(
                (maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), correction=0))
            )
        )
        for stage, sums in zip(net.stages(), found, strict=True)
    ]
    with hooked(net, hooks, training=True), freeze_running_statistics([net]):
        for images in batches:
            net(images)
    return [
        (torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0))
        for means, variances in (zip(*sums, strict=True) for sums in found)
    ]
