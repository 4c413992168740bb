"""Statistics of every layer's output and gradient, which show whether signals vanish.

The paper argues that vanishing signals do not cause degradation (section 4.1): batch normalization
keeps forward signals from vanishing, and gradients have healthy norms.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.nets.activation_checkpointing import preserve_running_statistics
from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.records.layers import LayerStats


def layers_with_weights(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that count towards a net's depth, in order, keyed by name."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    }


def measure_layer_stats(
    net: nn.Module, images: Tensor, labels: Tensor, iteration: int
) -> list[LayerStats]:
    """Measure each layer with weights on one batch, in training mode.

    The statistics are the standard deviation of the layer's output before batch normalization, and
    the Euclidean norms of its weights and of their gradient. Layers that are not trained or not
    used are left out. The net and its gradients do not change.

    images: shape (N, 3, H, W).
    labels: shape (N,).
    iteration: how many iterations the net was trained.
    """
    layers = {n: m for n, m in layers_with_weights(net).items() if m.weight.requires_grad}
    stds: dict[str, Tensor] = {}

    def record(name: str, _input: Tensor, output: Tensor) -> None:
        stds[name] = output.detach().float().std(correction=0)

    with (
        observe_modules(net, layers, record, training=True),
        preserve_running_statistics([net]),
        torch.enable_grad(),
    ):
        loss = F.cross_entropy(net(images), labels)
        weights = [layer.weight for layer in layers.values()]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    columns = {
        name: torch.stack([stds[name], gradient.float().norm(), layer.weight.detach().norm()])
        for (name, layer), gradient in zip(layers.items(), gradients, strict=True)
        if gradient is not None and name in stds
    }
    rows = torch.stack(list(columns.values())).tolist()
    return [
        LayerStats(iteration, number, name, *row)
        for number, (name, row) in enumerate(zip(columns, rows, strict=True), 1)
    ]
