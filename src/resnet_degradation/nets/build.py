"""Builds the net of a configuration and initializes its weights."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import cast

import torch
from torch import nn

from resnet_degradation.config.architectures import Family
from resnet_degradation.config.custom_code import load_custom
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import Config
from resnet_degradation.nets.blocks import Block, BottleneckStride, Shortcut, ShortcutPadding
from resnet_degradation.nets.overrides import check_overrides
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import read_weights
from resnet_degradation.system.apple_gpu import choose_memory_format
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.rng import generator


def initialize(net: nn.Module, seed: int) -> None:
    """Apply He initialization in place: normal with std sqrt(2 / fan_in), and biases of zero.

    Every layer has its own random stream, named after the layer. With the same seed, a plain and
    a residual net therefore start from the same weights, whatever the shortcuts. So do the layers
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
    """The number of trainable values. Running statistics are not trainable."""
    return sum(parameter.numel() for parameter in net.parameters())


def _load_block(name: str) -> type[Block]:
    block = load_custom(name, "block")
    if not (isinstance(block, type) and issubclass(block, Block)):
        raise ConfigError(f"block={name} is not a subclass of resnet_degradation.nets.blocks.Block")
    if not isinstance(getattr(block, "expansion", None), int):
        raise ConfigError(
            f"block={name} has no integer `expansion`: set it to the number of output channels "
            "divided by `channels`, which is 1 for a basic block"
        )
    parameters = tuple(signature(Block).parameters)
    try:
        signature(block).bind(*parameters)
    except TypeError as error:
        raise ConfigError(
            f"block={name} cannot be built ({error}): its __init__ must take "
            f"{', '.join(parameters)}, like BasicBlock's"
        ) from error
    return block


def make_net(config: Config, num_classes: int, initialized: bool = True) -> ResNet:
    """Build the net of a resolved configuration, and initialize its weights if `initialized`.

    Raises ConfigError if a custom block cannot be imported or used.
    """
    net = ResNet(
        config.depth,
        config.residual,
        family=cast(Family, config.family),
        shortcut=cast(Shortcut, config.shortcut or "A"),
        num_classes=num_classes,
        width=config.width,
        bottleneck_stride=cast(BottleneckStride, config.bottleneck_stride),
        custom_block=None if config.block is None else _load_block(config.block),
        shortcut_padding=cast(ShortcutPadding, config.shortcut_padding),
    )
    if config.block is not None:
        check_overrides(net, config.data.image_size)
    if initialized:
        initialize(net, config.seed)
    return net


def move_to_device(net: ResNet, device: torch.device) -> ResNet:
    """Move a net to a device, and convert its weights to the memory format for that device."""
    return net.to(device).to(memory_format=choose_memory_format(device))


def use_shortcut_of_weights(config: Config) -> Config:
    """Take unset shortcut settings from the weights file that a configuration names.

    config: a configuration that is not resolved yet.

    Raises WeightsError if the file has no weights of a net. `resolve` reports a missing file.
    """
    file = Path(expand_home(config.weights or ""))
    if not config.weights or not file.is_file():
        return config
    layout = read_weights(file).layout
    return replace(
        config,
        shortcut=config.shortcut or layout.shortcut,
        shortcut_padding=config.shortcut_padding or layout.shortcut_padding,
    )
