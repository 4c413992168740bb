"""Parameters and multiply-adds of a net, layer by layer, counted from the module itself."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_degradation.nets.hooks import hooked


@dataclass(frozen=True)
class LayerCost:
    """One weighted layer: its name, trained values, and multiply-adds for one image."""

    name: str
    num_parameters: int
    multiply_adds: int
    output_shape: tuple[int, ...]  # (C, H, W), or (features,) of a fully connected layer


def layer_costs(net: nn.Module, image_size: int, in_channels: int = 3) -> list[LayerCost]:
    """The cost of every convolution and fully connected layer on square images, in order.

    Counted as in Table 1: multiply-adds of convolutions and fully connected layers (batch
    normalization, activations and additions are left out). One image passes through the net, which
    may be on the device "meta", where nothing is computed; the net is left as it was.
    """
    costs: list[LayerCost] = []

    def record(name: str, module: nn.Conv2d | nn.Linear, output: Tensor) -> None:
        # A weight is used once for every position of the map that it writes.
        positions = output.shape[2:].numel() if isinstance(module, nn.Conv2d) else 1
        costs.append(
            LayerCost(
                name,
                sum(parameter.numel() for parameter in module.parameters()),
                module.weight.numel() * positions,
                tuple(output.shape[1:]),
            )
        )

    hooks = [
        module.register_forward_hook(
            lambda module, _inputs, output, name=name: record(name, module, output)
        )
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    device = next(net.parameters()).device
    with hooked(net, hooks, training=False), torch.no_grad():
        net(torch.zeros(1, in_channels, image_size, image_size, device=device))
    return costs


def multiply_adds(net: nn.Module, image_size: int, in_channels: int = 3) -> int:
    """The multiply-adds of one forward pass of one image."""
    return sum(cost.multiply_adds for cost in layer_costs(net, image_size, in_channels))
