"""Plain and residual nets of both families, built from plain arguments."""

from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import nn

from resnet_degradation.config.architectures import Family, architecture
from resnet_degradation.config.custom_code import load_custom
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import Config
from resnet_degradation.nets.blocks import Block, BottleneckStride, Shortcut, ShortcutPadding
from resnet_degradation.nets.overrides import check_overrides
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import check_kind, read_weights
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.rng import generator


def build_net(
    depth: int,
    residual: bool,
    *,
    family: Family,
    shortcut: Shortcut = "A",
    num_classes: int = 10,
    width: float = 1.0,
    bottleneck_stride: BottleneckStride = "1x1",
    in_channels: int = 3,
    custom_block: type[Block] | None = None,
    shortcut_padding: ShortcutPadding = "behind",
) -> ResNet:
    """A net of the paper, not yet initialised by its recipe (see `initialize`).

    depth: layers with weights on the main path: 6n+2 (CIFAR, section 4.2) or one of Table 1.
    residual: add the shortcuts; without them, the plain counterpart with the same layers.
    shortcut: option A, B or C (section 3.3, Table 3); a plain net has none.
    width: factor on every number of channels; 1 is the paper's.
    bottleneck_stride: which layer of a bottleneck block halves the map; "1x1" is the paper's.
    custom_block: what to stack in place of the paper's blocks; a class made as BasicBlock is.
    shortcut_padding: where option A puts its zero channels, "behind" the existing ones or "around"
        them, which the paper leaves open.

    Raises ConfigError if the family has no net of that depth.
    """
    return ResNet(
        architecture(depth, family),
        residual,
        shortcut,
        num_classes,
        width,
        bottleneck_stride,
        in_channels,
        custom_block,
        shortcut_padding,
    )


def initialize(net: nn.Module, seed: int) -> None:
    """He initialisation, in place: normal with std sqrt(2 / fan_in); biases zero.

    Every layer draws from a stream of its own, named after it. So for one seed a plain net and
    its residual twin begin with the same weights, whatever their shortcuts, and so do the layers
    that a shallow and a deep net have in common.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(
                module.weight, nonlinearity="relu", generator=generator("weights", seed, name)
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def num_parameters(net: nn.Module) -> int:
    """The number of trained values (running statistics are not trained)."""
    return sum(parameter.numel() for parameter in net.parameters())


def load_block(name: str) -> type[Block]:
    """The class of blocks that module:Class names; raises ConfigError if it is none."""
    block = load_custom(name, "block")
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
        custom_block=None if config.block is None else load_block(config.block),
        shortcut_padding=cast(ShortcutPadding, config.shortcut_padding),
    )
    if config.block is not None:
        check_overrides(net, config.data.image_size)
    if initialised:
        initialize(net, config.seed)
    return net


def with_shortcuts_of_weights(config: Config) -> Config:
    """A configuration that is not settled yet, with the shortcuts that its weights are of.

    What it says of shortcuts itself stays. Raises WeightsError for a file that holds no weights, or
    those of no net of the paper; one that is not there is left for `resolve` to refuse.
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
