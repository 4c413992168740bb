"""The net of a configuration."""

from dataclasses import replace
from pathlib import Path
from typing import cast

from resnet_degradation.config import Config, expand_home
from resnet_degradation.errors import ConfigError
from resnet_degradation.families import Family
from resnet_degradation.nets import ResNet, build_net, initialise
from resnet_degradation.nets.blocks import Block, BottleneckStride, Shortcut, ShortcutPadding
from resnet_degradation.nets.overrides import check_overrides
from resnet_degradation.plugins import load_own
from resnet_degradation.weights import check_kind, read_weights


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


def with_shortcuts_of_weights(config: Config) -> Config:
    """A configuration that is not settled yet, with the shortcuts that its weights are of.

    What it says of shortcuts itself stays. Raises WeightsError for a file that holds no weights, or
    those of no net of the paper; one that is not there is left for `settle` to refuse.
    """
    file = Path(expand_home(config.weights or ""))
    if not config.weights or not file.is_file():
        return config
    weights, _, layout = read_weights(file)
    if not config.block:
        check_kind(weights, str(file))
    return replace(
        config,
        shortcut=config.shortcut or layout.shortcut,
        shortcut_padding=config.shortcut_padding or layout.shortcut_padding,
    )
