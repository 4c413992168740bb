"""Looking into a net for a while, and leaving it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(net: nn.Module, hooks: list[RemovableHandle], training: bool) -> Iterator[None]:
    """A net with these hooks, in training or evaluation mode; then without, in its own mode."""
    was_training = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
