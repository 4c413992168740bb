"""The net of a configuration."""

from typing import cast

from resnet_degradation.config import Config
from resnet_degradation.errors import ConfigError
from resnet_degradation.families import Family
from resnet_degradation.nets import ResNet, build_net, initialise
from resnet_degradation.nets.blocks import Block, BottleneckStride, Shortcut, ShortcutPadding
from resnet_degradation.nets.overrides import check_overrides
from resnet_degradation.plugins import load_own


def own_block(name: str) -> type[Block]:
    """The class of blocks that module:Class names; raises ConfigError if it is none."""
    block = load_own(name, "block")
    if not (isinstance(block, type) and issubclass(block, Block)):
        raise ConfigError(f"block={name} is no subclass of resnet_degradation.nets.blocks.Block")
    if not isinstance(getattr(block, "expansion", None), int):
        raise ConfigError(
            f"block={name} has no number `expansion`: how many times its `channels` it gives, "
            "1 for a basic block"
        )
    return block


def make_net(config: Config, num_classes: int, initialised: bool = True) -> ResNet:
    """The net of a settled configuration, with its initial weights if `initialised`.

    Raises ConfigError if its custom block cannot be found or used.
    """
    net = build_net(
        config.depth,
        config.residual,
        family=cast(Family, config.family),
        shortcut=cast(Shortcut, config.shortcut or "A"),
        num_classes=num_classes,
        width=config.width,
        bottleneck_stride=cast(BottleneckStride, config.bottleneck_stride),
        own_block=None if config.block is None else own_block(config.block),
        shortcut_padding=cast(ShortcutPadding, config.shortcut_padding),
    )
    if config.block is not None:
        check_overrides(net, config.data.image_size)
    if initialised:
        initialise(net, config.seed)
    return net
