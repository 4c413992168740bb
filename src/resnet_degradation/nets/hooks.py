"""Context managers that observe the modules of a net, or set its mode, and then restore the net."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

Observer = Callable[[str, Tensor, Tensor], None]  # gets a module's name, input and output


@contextmanager
def set_mode(net: nn.Module, training: bool) -> Iterator[None]:
    """Put a net into training or evaluation mode, and restore its mode at the end."""
    was_training = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(was_training)


@contextmanager
def observe_modules(
    net: nn.Module, modules: Mapping[str, nn.Module], observer: Observer, *, training: bool
) -> Iterator[None]:
    """Put a net into a mode, and call `observer` after each forward pass of `modules`."""

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, inputs, output: observer(name, inputs[0], output)

    with set_mode(net, training), ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(make_hook(name)).remove)
        yield
