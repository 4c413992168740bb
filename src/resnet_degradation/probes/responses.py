"""How strongly the layers of a net respond (section 4.2, figure 7)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.nets.hooks import hooked
from resnet_degradation.records.layers import Response


@torch.no_grad()
def layer_responses(
    net: nn.Module, batches: Iterable[Tensor], world: World = ALONE
) -> list[Response]:
    """The standard deviation of each 3x3 layer's output over batches of images (N, C, H, W).

    The output is taken after batch normalization and before the nonlinearity, in a residual net
    before the addition. It is measured in evaluation mode; the net is left in the mode it was in.
    A layer whose output no batch normalization takes has no response. The processes of a world
    measure it over all their images.
    """
    layers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }
    # Number of values, their sum, the sum of their squares.
    totals = {name: torch.zeros(3, dtype=torch.float64) for name in layers}
    unnormalized: list[tuple[Tensor, str]] = []  # outputs, with the names of their layers

    def observe(inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for place, (taken, name) in enumerate(unnormalized):
            if taken is inputs[0]:
                del unnormalized[place]
                values = output.double()
                count = torch.full_like(values.sum(), values.numel())
                sums = torch.stack([count, values.sum(), values.square().sum()])
                totals[name] += sums.cpu()
                return

    hooks = [
        layer.register_forward_hook(
            lambda _m, _i, output, name=name: unnormalized.append((output, name))
        )
        for name, layer in layers.items()
    ]
    hooks += [
        module.register_forward_hook(lambda _m, inputs, output: observe(inputs, output))
        for module in net.modules()
        if isinstance(module, _BatchNorm)
    ]
    with hooked(net, hooks, training=False):
        for images in batches:
            if len(images) > 0:
                net(images)
            unnormalized.clear()
    responses: list[Response] = []
    sums = world.sum(torch.stack(list(totals.values())))
    for name, (count, total, squares) in zip(totals, sums, strict=True):
        if count > 0:
            variance = squares / count - (total / count) ** 2
            std = float(variance.clamp(min=0).sqrt())
            responses.append(Response(len(responses) + 1, name, std))
    return responses
