"""Nets: `build_net`, their initialisation, and what they cost."""

from resnet_degradation.nets.complexity import LayerCost, layer_costs, multiply_adds
from resnet_degradation.nets.resnet import ResNet, build_net, initialise, num_parameters

__all__ = [
    "LayerCost",
    "ResNet",
    "build_net",
    "initialise",
    "layer_costs",
    "multiply_adds",
    "num_parameters",
]
