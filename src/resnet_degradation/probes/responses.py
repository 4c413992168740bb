"""The strength of layer responses (section 4.2, figure 7)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.records.layers import Response
from resnet_degradation.system.apple_gpu import to_float64


@torch.no_grad()
def measure_responses(
    net: nn.Module, batches: Iterable[Tensor], world: World = SINGLE_PROCESS
) -> list[Response]:
    """Measure the standard deviation of each 3x3 layer's output over all images and positions.

    The output is taken after batch normalization and before the ReLU and the addition, in
    evaluation mode. Layers without batch normalization are left out. All processes return the same
    values, for the images of all processes.

    batches: images of shape (N, 3, H, W).
    """
    modules = dict(net.named_modules())
    layers = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    norms = {name: module for name, module in modules.items() if isinstance(module, _BatchNorm)}
    # The number of values, their sum, and the sum of their squares.
    totals = {name: torch.zeros(3, dtype=torch.float64) for name in layers}
    # Layers and their outputs. An entry is removed when a normalization gets the output.
    pending: list[tuple[str, Tensor]] = []

    def record(name: str, x: Tensor, output: Tensor) -> None:
        if name in layers:
            pending.append((name, output))
            return
        for index, (layer, layer_output) in enumerate(pending):
            if layer_output is x:
                del pending[index]
                values = to_float64(output)
                count = torch.full_like(values.sum(), values.numel())
                totals[layer] += torch.stack([count, values.sum(), values.square().sum()]).cpu()
                return

    with observe_modules(net, {**layers, **norms}, record, training=False):
        for images in batches:
            if len(images) > 0:
                net(images)
            pending.clear()
    responses: list[Response] = []
    sums = world.all_reduce_sum(torch.stack(list(totals.values())))
    for name, (count, total, total_squares) in zip(totals, sums, strict=True):
        if count > 0:
            variance = total_squares / count - (total / count) ** 2
            std = float(variance.clamp(min=0).sqrt())
            responses.append(Response(len(responses) + 1, name, std))
    return responses
