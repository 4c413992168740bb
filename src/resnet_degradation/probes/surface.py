"""The loss on a plane through a trained net's weights, after Li et al. (2018)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.data.batches import Batch
from resnet_degradation.nets.hooks import set_mode
from resnet_degradation.system.rng import generator

Direction = dict[str, Tensor]  # keyed by parameter name


@dataclass(frozen=True)
class SurfacePoint:
    """A point of the plane, with its mean loss and its error in percent."""

    first: float
    second: float
    loss: float
    error: float


def random_direction(net: nn.Module, index: int) -> Direction:
    """Draw random filters, and scale each to the norm of the net's corresponding filter.

    Biases and parameters of batch normalization are left out, as in the code of Li et al.

    index: which direction to draw. Different indices give independent directions.
    """
    direction = {}
    for name, parameter in net.named_parameters():
        if parameter.dim() > 1:
            shape = parameter.shape
            noise = torch.randn(shape, generator=generator("surface", index, name)).to(parameter)
            dims = tuple(range(1, parameter.dim()))
            filter_norm, noise_norm = (
                torch.linalg.vector_norm(w, dim=dims, keepdim=True) for w in (parameter, noise)
            )
            direction[name] = noise * filter_norm / noise_norm.clamp_min(1e-10)
    return direction


@contextmanager
def move_weights(net: nn.Module, steps: Iterable[tuple[float, Direction]]) -> Iterator[None]:
    """Temporarily add multiples of directions to a net's weights."""
    parameters = dict(net.named_parameters())
    original = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for step, direction in steps:
                for name, values in direction.items():
                    parameters[name].add_(values, alpha=step)
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(original[name])


@torch.no_grad()
def measure_loss_and_error(net: nn.Module, batches: list[Batch]) -> tuple[float, float]:
    """Measure the mean cross-entropy and the error in percent, in evaluation mode.

    At every point of the surface, batch normalization uses the running statistics of the trained
    net, as in the code of Li et al.
    """
    total = torch.zeros(2, dtype=torch.float64)
    num_images = 0
    with set_mode(net, training=False):
        for images, labels in batches:
            logits = net(images).float()
            wrong = (logits.argmax(dim=1) != labels).sum()
            total += torch.stack([F.cross_entropy(logits, labels, reduction="sum"), wrong]).cpu()
            num_images += len(labels)
    loss, error = (total / num_images).tolist()
    return loss, 100 * error


def measure_surface(
    net: nn.Module, batches: list[Batch], coordinates: list[tuple[float, float]]
) -> Iterator[SurfacePoint]:
    """Measure loss and error at points of the plane that two random directions span at the net.

    Yields the points in the order of `coordinates`. The net itself is at (0, 0).
    """
    directions = [random_direction(net, index) for index in (0, 1)]
    for point in coordinates:
        with move_weights(net, zip(point, directions, strict=True)):
            yield SurfacePoint(*point, *measure_loss_and_error(net, batches))
