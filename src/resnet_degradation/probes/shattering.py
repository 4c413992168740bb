"""Whether a net's gradients at nearby inputs point the same way (Balduzzi et al. 2017).

Along a line between two images, the gradients of a deep plain net resemble white noise: those at
neighbouring points are not correlated. With shortcuts they decorrelate slowly, as brown noise does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_degradation.nets.hooks import set_mode
from resnet_degradation.system.apple_gpu import to_float64
from resnet_degradation.system.rng import generator

NUM_POINTS = 64  # on a line between two images


@dataclass(frozen=True)
class Correlation:
    """A row of shattering.csv: the similarity of input gradients at two points of a line.

    of: the source of the gradients: "initial" or "trained" (a net with those weights), "white
        noise" or "brown noise".
    distance: how many steps apart the two points are on the line.
    correlation: the cosine similarity of their gradients, averaged over pairs of points and lines.
    spread: the standard deviation over lines of the average on a line; 0 for a single line.
    """

    of: str
    distance: int
    correlation: float
    spread: float


def input_gradients(net: nn.Module, first: Tensor, last: Tensor) -> Tensor:
    """The gradients of a net along the line between two images (C, H, W).

    They are the gradients of one fixed random combination of the logits with respect to the images,
    at NUM_POINTS points: (NUM_POINTS, C * H * W). The net is in evaluation mode, because in
    training mode each gradient would depend on the other images of the batch.
    """
    shares = torch.linspace(0, 1, NUM_POINTS, device=first.device).view(-1, 1, 1, 1)
    points = (first + shares * (last - first)).requires_grad_()
    with set_mode(net, training=False), torch.enable_grad():
        logits = net(points)
        weights = torch.randn(logits.shape[1], generator=generator("shattering")).to(logits)
        (gradients,) = torch.autograd.grad((logits @ weights).sum(), points)
    return gradients.flatten(1)


def correlations(gradients: Tensor) -> Tensor:
    """The mean cosine similarity of gradients (T, D) that are 0, ..., T/2 steps apart: (T/2 + 1,).

    It is 1 at distance 0. A gradient of zero has a cosine of 0 with every other one.
    """
    units = nn.functional.normalize(to_float64(gradients), dim=1)
    cosines = units @ units.T
    half = len(gradients) // 2
    return torch.stack([cosines.diagonal(distance).mean() for distance in range(half + 1)])


def white_noise(dimensions: int) -> Tensor:
    """Independent gradients (NUM_POINTS, dimensions): those of a completely shattered net."""
    return torch.randn(NUM_POINTS, dimensions, generator=generator("white noise"))


def brown_noise(dimensions: int) -> Tensor:
    """A random walk of gradients (NUM_POINTS, dimensions): the sums of white noise so far."""
    return white_noise(dimensions).cumsum(dim=0)
