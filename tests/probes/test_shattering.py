"""Correlations of the gradients of functions for which they are known."""

import math

import pytest
import torch
from torch import nn

from resnet_degradation.probes.shattering import (
    NUM_POINTS,
    brown_noise,
    input_gradients,
    mean_cosines,
    white_noise,
)
from resnet_degradation.system.rng import generator


def test_a_linear_net_has_the_same_gradient_everywhere() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).train()
    gradients = input_gradients(net, torch.randn(3, 2, 2), torch.randn(3, 2, 2))
    assert gradients.shape == (NUM_POINTS, 12)
    assert torch.allclose(mean_cosines(gradients), torch.ones(NUM_POINTS // 2 + 1).double())
    assert net.training
    assert net[1].weight.grad is None


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    first, last = torch.randn(2, 3, 1, 1).double()
    gradients = input_gradients(net, first, last)
    weights = gradients[0] * 0
    step = 1e-5
    combination = torch.randn(2, generator=generator("shattering")).double()
    for i in range(3):
        offset = torch.zeros(3, 1, 1).double()
        offset[i] = step
        up, down = net((first + offset)[None]), net((first - offset)[None])
        weights[i] = ((up - down) @ combination).item() / (2 * step)
    assert torch.allclose(gradients[0], weights, atol=1e-8)


def test_white_noise_is_not_correlated() -> None:
    white = mean_cosines(white_noise(2000))
    assert white[0] == pytest.approx(1)
    # The standard error of a mean of about NUM_POINTS / 2 cosines of random directions.
    assert white[1:].abs().max() < 5 / math.sqrt(2000 * NUM_POINTS / 2)


def test_brown_noise_has_the_correlation_of_a_random_walk() -> None:
    brown = mean_cosines(brown_noise(20_000))
    for distance in (1, 8, 32):
        steps = torch.arange(1, NUM_POINTS - distance + 1).double()
        expected = (steps / (steps + distance)).sqrt().mean()
        assert float(brown[distance]) == pytest.approx(float(expected), abs=0.01)


def test_dead_nets_have_no_correlation() -> None:
    assert mean_cosines(torch.zeros(8, 5)).tolist() == [0.0] * 5
