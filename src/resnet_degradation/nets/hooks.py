"""Observing the modules of a net during forward passes; the net is left as it was."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

Observer = Callable[[str, Tensor, Tensor], None]  # gets a module's name, input and output


@contextmanager
def mode(net: nn.Module, training: bool) -> Iterator[None]:
    """Put a net into training or evaluation mode, and back into its own mode at the end."""
    was_training = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(was_training)


@contextmanager
def observed(
    net: nn.Module, modules: Mapping[str, nn.Module], observer: Observer, *, training: bool
) -> Iterator[None]:
    """Call `observer` after each forward pass of `modules`, with the net in the given mode."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, inputs, output: observer(name, inputs[0], output)

    with mode(net, training), ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield
