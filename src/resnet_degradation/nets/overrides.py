"""Which methods of Block a custom block overrides, and whether the net calls them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from resnet_degradation.nets.blocks import BasicBlock, Block
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.system.errors import ConfigError

METHODS = ("branch", "shortcut")


def named_blocks(net: ResNet) -> dict[str, Block]:
    """The blocks of a net by their names, in order."""
    return {name: module for name, module in net.named_modules() if isinstance(module, Block)}


@contextmanager
def replaced_methods(block: Block, methods: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """For a while, a block with these functions as its methods."""
    own = {name: block.__dict__[name] for name in methods if name in block.__dict__}
    block.__dict__.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del block.__dict__[name]
        block.__dict__.update(own)


@torch.no_grad()
def methods_called(net: ResNet, image_size: int) -> dict[str, set[str]]:
    """For each block by its name, which of METHODS a forward pass in evaluation mode calls."""
    blocks = named_blocks(net)
    called: dict[str, set[str]] = {name: set() for name in blocks}

    def recorded(block: str, method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            called[block].add(method)
            return original(*arguments)

        return call

    with hooked(net, [], training=False), ExitStack() as stack:
        for name, block in blocks.items():
            recording = {m: recorded(name, m, getattr(block, m)) for m in METHODS}
            stack.enter_context(replaced_methods(block, recording))
        first = net.conv1.weight
        net(torch.zeros(1, first.shape[1], image_size, image_size, device=first.device))
    return called


def check_overrides(net: ResNet, image_size: int) -> None:
    """Raise ConfigError if something that a custom block overrides has no effect in the net."""
    blocks = named_blocks(net)
    for block in blocks.values():
        for method in (*METHODS, "forward"):
            if method in block._modules:
                raise ConfigError(
                    f"block {type(block).__name__}: the module in self.{method} is never used, as "
                    f"{method} is a method of Block: give the module another name, and override "
                    f"{method}(self, x) so that it calls it"
                )
    first = next(iter(blocks.values()))
    own = type(first)
    if hasattr(own, "before_last_norm") and own.branch is BasicBlock.branch:  # as in 0.1.0
        raise ConfigError(
            f"block {own.__name__} overrides before_last_norm, which is no longer called: override "
            "branch(self, x) instead, which returns F(x) after its last normalization"
        )
    calls = methods_called(net, image_size)
    called = set[str]().union(*(calls[n] for n, block in blocks.items() if type(block) is own))
    # A plain net has no shortcuts.
    for method in METHODS if first.residual else METHODS[:1]:
        inherited = (getattr(Block, method), getattr(BasicBlock, method))
        if getattr(own, method) not in inherited and method not in called:
            raise ConfigError(
                f"block {own.__name__} overrides {method}, which its forward never calls: call "
                f"self.{method}(x) there, or remove {method}"
            )
