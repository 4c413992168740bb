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
def layer_responses(
    net: nn.Module, batches: Iterable[Tensor], world: World = SINGLE_PROCESS
) -> list[Response]:
    """One standard deviation for each 3x3 layer: of its output over all images and positions.

    batches: images (N, 3, H, W). The output is taken after batch normalization, and before the
    nonlinearity and the addition, in evaluation mode. A layer whose output is not batch-normalized
    has no response. Statistics are summed over all processes, which all return the same values.
    """
    modules = dict(net.named_modules())
    layers = {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    norms = {name: module for name, module in modules.items() if isinstance(module, _BatchNorm)}
    # Number of values, their sum, the sum of their squares.
    totals = {name: torch.zeros(3, dtype=torch.float64) for name in layers}
    # Layers and their outputs, until a norm takes such an output as its input.
    awaiting_norm: list[tuple[str, Tensor]] = []

    def observe(name: str, x: Tensor, output: Tensor) -> None:
        if name in layers:
            awaiting_norm.append((name, output))
            return
        for index, (layer, layer_output) in enumerate(awaiting_norm):
            if layer_output is x:
                del awaiting_norm[index]
                values = to_float64(output)
                count = torch.full_like(values.sum(), values.numel())
                totals[layer] += torch.stack([count, values.sum(), values.square().sum()]).cpu()
                return

    with observe_modules(net, {**layers, **norms}, observe, training=False):
        for images in batches:
            if len(images) > 0:
                net(images)
            awaiting_norm.clear()
    responses: list[Response] = []
    sums = world.all_reduce_sum(torch.stack(list(totals.values())))
    for name, (count, total, squares) in zip(totals, sums, strict=True):
        if count > 0:
            variance = squares / count - (total / count) ** 2
            std = float(variance.clamp(min=0).sqrt())
            responses.append(Response(len(responses) + 1, name, std))
    return responses
