"""Counts the parameters and multiply-adds of each layer of a net."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_degradation.nets.hooks import observe_modules


@dataclass(frozen=True)
class LayerCost:
    """The name of a layer, its number of parameters, and its multiply-adds for one image."""

    name: str
    num_parameters: int
    multiply_adds: int
    output_shape: tuple[int, ...]  # (C, H, W), or (features,) of a fully connected layer


def layer_costs(net: nn.Module, image_size: int) -> list[LayerCost]:
    """Count the cost of each convolution and fully connected layer on a square image, in order.

    As in Table 1, batch normalization, activations and additions are left out. The net processes
    one image. It may be on the device "meta", which computes nothing.
    """
    layers = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    costs: list[LayerCost] = []

    def record(name: str, _input: Tensor, output: Tensor) -> None:
        layer = layers[name]
        # A convolution uses each weight once per output position.
        positions = output.shape[2:].numel() if isinstance(layer, nn.Conv2d) else 1
        num_parameters = sum(parameter.numel() for parameter in layer.parameters())
        shape = tuple(output.shape[1:])
        costs.append(LayerCost(name, num_parameters, layer.weight.numel() * positions, shape))

    images = torch.zeros(1, 3, image_size, image_size, device=next(net.parameters()).device)
    with observe_modules(net, layers, record, training=False), torch.no_grad():
        net(images)
    return costs


def multiply_adds(net: nn.Module, image_size: int) -> int:
    """The multiply-adds of one forward pass of one image."""
    return sum(cost.multiply_adds for cost in layer_costs(net, image_size))
