"""Checks that a custom block's overridden methods are called."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from resnet_degradation.nets.blocks import BasicBlock, Block
from resnet_degradation.nets.hooks import set_mode
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.errors import ConfigError

BLOCK_METHODS = ("branch", "shortcut")


@contextmanager
def replace_methods(block: Block, methods: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Temporarily replace methods of a block."""
    originals = {name: block.__dict__[name] for name in methods if name in block.__dict__}
    block.__dict__.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del block.__dict__[name]
        block.__dict__.update(originals)


@torch.no_grad()
def called_methods(net: ResNet, image_size: int) -> dict[str, set[str]]:
    """Find which BLOCK_METHODS of each block a forward pass calls, keyed by block name."""
    blocks = net.blocks()
    called: dict[str, set[str]] = {name: set() for name in blocks}

    def record_calls(block: str, method: str) -> Callable[..., Any]:
        original = getattr(blocks[block], method)

        def record_and_call(*arguments: Any) -> Any:
            called[block].add(method)
            return original(*arguments)

        return record_and_call

    with set_mode(net, training=False), ExitStack() as stack:
        for name, block in blocks.items():
            methods = {method: record_calls(name, method) for method in BLOCK_METHODS}
            stack.enter_context(replace_methods(block, methods))
        net(torch.zeros(1, 3, image_size, image_size, device=net.conv1.weight.device))
    return called


def check_overrides(net: ResNet, image_size: int) -> None:
    """Raise ConfigError if an override in a custom block has no effect."""
    blocks = net.blocks()
    for block in blocks.values():
        for method in (*BLOCK_METHODS, "forward"):
            if method in block._modules:
                raise ConfigError(
                    f"block {type(block).__name__}: the module in self.{method} is never used, "
                    f"because {method} is a method of Block: rename the module, and call it in an "
                    f"override of {method}(self, x)"
                )
    first = next(iter(blocks.values()))
    custom = type(first)
    # before_last_norm was a method of Block in version 0.1.0.
    if hasattr(custom, "before_last_norm") and custom.branch is BasicBlock.branch:
        raise ConfigError(
            f"block {custom.__name__} overrides before_last_norm, which is no longer called: "
            "override branch(self, x) instead, and return F(x) after its last normalization"
        )
    calls = called_methods(net, image_size)
    called = set[str]().union(*(calls[n] for n, block in blocks.items() if type(block) is custom))
    # A plain net has no shortcuts.
    for method in BLOCK_METHODS if first.residual else BLOCK_METHODS[:1]:
        inherited = (getattr(Block, method), getattr(BasicBlock, method))
        if getattr(custom, method) not in inherited and method not in called:
            raise ConfigError(
                f"block {custom.__name__} overrides {method}, which its forward never calls: call "
                f"self.{method}(x) there, or remove {method}"
            )
