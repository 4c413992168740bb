"""The net of a configuration."""

from typing import cast

from resnet_degradation.config import Config
from resnet_degradation.families import Family
from resnet_degradation.nets import ResNet, build_net, initialise
from resnet_degradation.nets.blocks import BottleneckStride, Shortcut


def make_net(config: Config, num_classes: int, initialised: bool = True) -> ResNet:
    """The net of a settled configuration, with its initial weights if `initialised`."""
    net = build_net(
        config.depth,
        config.residual,
        family=cast(Family, config.family),
        shortcut=cast(Shortcut, config.shortcut or "A"),
        num_classes=num_classes,
        width=config.width,
        bottleneck_stride=cast(BottleneckStride, config.bottleneck_stride),
    )
    if initialised:
        initialise(net, config.seed)
    return net
