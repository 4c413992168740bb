"""The loss surface of functions for which it is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.surface import measure_surface, random_direction


@pytest.fixture
def net() -> ResNet:
    torch.manual_seed(0)
    return ResNet(8, residual=True, family="cifar", width=0.25, num_classes=3)


def test_filters_of_a_direction_have_the_norms_of_the_nets_filters(net: ResNet) -> None:
    first, second = (random_direction(net, number) for number in (0, 1))
    for name, parameter in net.named_parameters():
        assert (name in first) == (parameter.dim() > 1)
        if name in first:
            norms = parameter.detach().flatten(1).norm(dim=1)
            assert torch.allclose(first[name].flatten(1).norm(dim=1), norms, rtol=1e-5)
    cosine = F.cosine_similarity(
        *(torch.cat([*map(torch.flatten, d.values())]) for d in (first, second)), dim=0
    )
    assert cosine.detach().abs() < 0.1


def test_the_surface_of_a_linear_net_is_that_of_its_logits() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, labels = torch.randn(20, 3, 2, 2), torch.randint(3, (20,))
    one, two = (random_direction(net, number)["1.weight"] for number in (0, 1))
    weight, bias = net[1].weight.detach().clone(), net[1].bias.detach()
    coordinates = [(0.0, 0.0), (-1.0, 0.5), (2.0, 1.0)]
    batches = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    for point in measure_surface(net, batches, coordinates):
        moved = weight + point.first * one + point.second * two
        logits = F.linear(images.flatten(1), moved, bias)
        assert point.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
        wrong = (logits.argmax(dim=1) != labels).double().mean()
        assert point.error == pytest.approx(100 * float(wrong))


def test_the_net_is_left_as_it_was_even_in_the_middle(net: ResNet) -> None:
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    points = measure_surface(
        net, [(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))], [(1.0, 1.0)] * 3
    )
    next(points)
    points.close()
    assert net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
