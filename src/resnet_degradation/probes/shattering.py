"""Measures whether a net has similar gradients at nearby inputs (Balduzzi et al. 2017).

Along a line between two images, the gradients of a deep plain net resemble white noise: at
neighbouring points they are uncorrelated. With shortcuts they resemble brown noise: their
correlation decreases slowly with the distance.
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

    of: the source of the gradients: "initial" or "trained" (the weights of the net), "white noise"
        or "brown noise".
    distance: how many steps apart the two points are on the line.
    correlation: the cosine similarity of the gradients, averaged over pairs of points and lines.
    spread: the standard deviation over lines of each line's average; 0 for a single line.
    """

    of: str
    distance: int
    correlation: float
    spread: float


def input_gradients(net: nn.Module, first: Tensor, last: Tensor) -> Tensor:
    """Compute the input gradients of a net at NUM_POINTS points between two images.

    They are the gradients of a fixed random combination of the logits. The net is in evaluation
    mode, because in training mode each gradient would depend on the other images of the batch.

    first, last: images of shape (C, H, W).

    Returns a tensor of shape (NUM_POINTS, C * H * W).
    """
    fractions = torch.linspace(0, 1, NUM_POINTS, device=first.device).view(-1, 1, 1, 1)
    points = (first + fractions * (last - first)).requires_grad_()
    with set_mode(net, training=False), torch.enable_grad():
        logits = net(points)
        weights = torch.randn(logits.shape[1], generator=generator("shattering")).to(logits)
        (gradients,) = torch.autograd.grad((logits @ weights).sum(), points)
    return gradients.flatten(1)


def mean_cosines(gradients: Tensor) -> Tensor:
    """Average the cosine similarity of gradients over all pairs that are 0, ..., T/2 steps apart.

    The average is 1 at distance 0. The cosine similarity with a gradient of zero is 0.

    gradients: shape (T, D), at T points of a line.

    Returns a tensor of shape (T/2 + 1,).
    """
    units = nn.functional.normalize(to_float64(gradients), dim=1)
    cosines = units @ units.T
    half = len(gradients) // 2
    return torch.stack([cosines.diagonal(distance).mean() for distance in range(half + 1)])


def white_noise(dimensions: int) -> Tensor:
    """Draw independent gradients, like those of a completely shattered net.

    Returns a tensor of shape (NUM_POINTS, dimensions).
    """
    return torch.randn(NUM_POINTS, dimensions, generator=generator("white noise"))


def brown_noise(dimensions: int) -> Tensor:
    """Draw a random walk of gradients: the cumulative sum of white noise."""
    return white_noise(dimensions).cumsum(dim=0)
