"""Do signals vanish on their way through the layers? Forward signal and gradient of every layer.

The paper's introduction and section 4.1 argue that degradation is no matter of vanishing signals:
batch normalization keeps forward signals from vanishing, and gradients have healthy norms.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.nets.activation_checkpointing import freeze_running_statistics
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.records.layers import LayerStats


def layers_with_weights(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers on the main path, by their names in order: those that a net's depth counts."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    }


def layer_stats(net: nn.Module, images: Tensor, labels: Tensor) -> list[LayerStats]:
    """What passes through every layer with weights, forward and backward, for one batch.

    images: (N, C, H, W), labels: (N,). Of each layer: the standard deviation of its output, before
    batch normalization, over all its values; the Euclidean norm of the gradient of the batch's
    mean loss with respect to its weights; the norm of the weights. It is computed as in training,
    with the batch's own statistics. The net is left exactly as it was, its gradients too. Layers
    that are not trained, or do not take part, are left out.
    """
    layers = {
        n: layer for n, layer in layers_with_weights(net).items() if layer.weight.requires_grad
    }
    stds: dict[str, Tensor] = {}

    def observe(name: str, output: Tensor) -> None:
        stds[name] = output.detach().float().std(correction=0)

    hooks = [
        layer.register_forward_hook(lambda _m, _i, output, name=name: observe(name, output))
        for name, layer in layers.items()
    ]
    with hooked(net, hooks, training=True), freeze_running_statistics([net]), torch.enable_grad():
        loss = F.cross_entropy(net(images), labels)
        weights = [layer.weight for layer in layers.values()]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
    gradients = {n: g for n, g in zip(layers, found, strict=True) if g is not None and n in stds}
    layers = {name: layers[name] for name in gradients}
    norms = torch.stack([gradient.float().norm() for gradient in gradients.values()]).tolist()
    weight_norms = torch.stack([layer.weight.detach().norm() for layer in layers.values()]).tolist()
    signals = torch.stack([stds[name] for name in layers]).tolist()
    return [
        LayerStats(number, name, signal, gradient, weight)
        for number, (name, signal, gradient, weight) in enumerate(
            zip(layers, signals, norms, weight_norms, strict=True), 1
        )
    ]
