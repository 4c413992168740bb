"""Checks that the methods a custom block overrides are called."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from resnet_degradation.nets.blocks import BasicBlock, Block
from resnet_degradation.nets.hooks import mode
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.errors import ConfigError

METHODS = ("branch", "shortcut")


@contextmanager
def replaced_methods(block: Block, methods: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Replace methods of a block temporarily."""
    before = {name: block.__dict__[name] for name in methods if name in block.__dict__}
    block.__dict__.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del block.__dict__[name]
        block.__dict__.update(before)


@torch.no_grad()
def called_methods(net: ResNet, image_size: int) -> dict[str, set[str]]:
    """The METHODS that a forward pass in evaluation mode calls, by block name."""
    blocks = net.blocks()
    called: dict[str, set[str]] = {name: set() for name in blocks}

    def recording(block: str, method: str) -> Callable[..., Any]:
        original = getattr(blocks[block], method)

        def call(*arguments: Any) -> Any:
            called[block].add(method)
            return original(*arguments)

        return call

    with mode(net, training=False), ExitStack() as stack:
        for name, block in blocks.items():
            methods = {method: recording(name, method) for method in METHODS}
            stack.enter_context(replaced_methods(block, methods))
        net(torch.zeros(1, 3, image_size, image_size, device=net.conv1.weight.device))
    return called


def check_overrides(net: ResNet, image_size: int) -> None:
    """Raise ConfigError if something that a custom block overrides has no effect."""
    blocks = net.blocks()
    for block in blocks.values():
        for method in (*METHODS, "forward"):
            if method in block._modules:
                raise ConfigError(
                    f"block {type(block).__name__}: the module in self.{method} is never used: "
                    f"{method} is a method of Block: rename the module, and override "
                    f"{method}(self, x) so that it calls the module"
                )
    first = next(iter(blocks.values()))
    custom = type(first)
    # Version 0.1.0 called this method.
    if hasattr(custom, "before_last_norm") and custom.branch is BasicBlock.branch:
        raise ConfigError(
            f"block {custom.__name__} overrides before_last_norm, which is no longer called: "
            "override branch(self, x) instead, which returns F(x) after its last normalization"
        )
    calls = called_methods(net, image_size)
    called = set[str]().union(*(calls[n] for n, block in blocks.items() if type(block) is custom))
    # A plain net has no shortcuts.
    for method in METHODS if first.residual else METHODS[:1]:
        inherited = (getattr(Block, method), getattr(BasicBlock, method))
        if getattr(custom, method) not in inherited and method not in called:
            raise ConfigError(
                f"block {custom.__name__} overrides {method}, which its forward never calls: call "
                f"self.{method}(x) there, or remove {method}"
            )
