"""How strongly the layers of a net respond (section 4.2, figure 7)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resnet_degradation.distributed import ALONE, World
from resnet_degradation.nets.observed import observed
from resnet_degradation.runs import Response


def response_layers(net: nn.Module) -> dict[str, nn.Module]:
    """The batch normalization after each 3x3 convolution, by the convolution's name, in order."""
    return {
        name: net.get_submodule(name.replace("conv", "bn"))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }


@torch.no_grad()
def layer_responses(
    net: nn.Module, batches: Iterable[Tensor], world: World = ALONE
) -> list[Response]:
    """The standard deviation of each 3x3 layer's output over batches of images (N, C, H, W).

    The output is taken after batch normalization and before the nonlinearity, in a residual net
    before the addition. It is measured in evaluation mode; the net is left in the mode it was in.
    The processes of a world measure it over all their images.
    """
    layers = response_layers(net)
    # Number of values, their sum, the sum of their squares.
    totals = {name: torch.zeros(3, dtype=torch.float64) for name in layers}

    def observe(name: str, output: Tensor) -> None:
        values = output.double()
        count = torch.full_like(values.sum(), values.numel())
        sums = torch.stack([count, values.sum(), values.square().sum()])
        totals[name] += sums.cpu()

    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: observe(name, output))
        for name, module in layers.items()
    ]
    with observed(net, hooks, training=False):
        for images in batches:
            if len(images) > 0:
                net(images)
    responses = []
    sums = world.sum(torch.stack(list(totals.values())))
    for number, (name, (count, total, squares)) in enumerate(zip(totals, sums, strict=True), 1):
        variance = squares / count - (total / count) ** 2
        responses.append(Response(number, name, float(variance.clamp(min=0).sqrt())))
    return responses
