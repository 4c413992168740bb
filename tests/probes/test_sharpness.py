"""The largest eigenvalue of the Hessian of functions for which it is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.sharpness import measure_sharpness, stability_limit


def test_a_linear_net_has_the_eigenvalue_of_its_exact_hessian() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, labels = torch.randn(40, 3, 2, 2), torch.randint(3, (40,))
    shapes = [parameter.shape for parameter in net.parameters()]
    vector = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        weight, bias = flat.split([shape.numel() for shape in shapes])
        logits = F.linear(images.flatten(1), weight.view(shapes[0]), bias)
        return F.cross_entropy(logits, labels)

    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, vector)).max()
    assert measure_sharpness(net, [(images, labels)]) == pytest.approx(float(exact), rel=0.03)
    halves = [(images[:10], labels[:10]), (images[10:], labels[10:])]
    assert measure_sharpness(net, halves) == pytest.approx(float(exact), rel=0.03)


def test_a_residual_net_has_the_eigenvalue_of_its_exact_hessian_and_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    net = ResNet(8, residual=True, family="cifar", width=0.0625, num_classes=3)
    images, labels = torch.randn(16, 3, 8, 8), torch.randint(3, (16,))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    flat = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    sizes = [parameter.numel() for parameter in net.parameters()]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = zip(names, vector.split(sizes), net.parameters(), strict=True)
        weights = {name: part.view_as(parameter) for name, part, parameter in parts}
        logits = torch.func.functional_call(net, weights, (images,))
        return F.cross_entropy(logits, labels)

    net.train()
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat)).max()
    net.load_state_dict(before)
    net.eval()
    assert measure_sharpness(net, [(images, labels)]) == pytest.approx(float(exact), rel=0.03)
    assert not net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_net_that_is_not_finite_has_no_sharpness() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    nn.init.constant_(net[1].weight, torch.nan)
    assert measure_sharpness(net, [(torch.ones(2, 3, 1, 1), torch.tensor([0, 1]))]) is None


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_descent_on_a_quadratic_is_stable_below_the_limit_and_diverges_above(
    momentum: float,
) -> None:
    for factor in (0.97, 1.03):
        lr = 0.1
        curvature = factor * stability_limit(lr, momentum)
        weight = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=lr, momentum=momentum)
        for _ in range(2000):
            optimizer.zero_grad()
            (curvature * weight**2 / 2).sum().backward()
            optimizer.step()
        assert (weight.detach().abs().item() < 1) == (factor < 1)


def test_a_flat_loss_and_unused_parameters_are_no_error() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    nn.init.zeros_(net[1].weight)
    net[1].bias.data = torch.tensor([1e4, -1e4])  # saturated: the loss is 0 everywhere nearby
    images, labels = torch.rand(4, 3, 1, 1), torch.zeros(4, dtype=torch.int64)
    value = measure_sharpness(net, [(images, labels)])
    assert value is None or value == pytest.approx(0, abs=1e-6)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    exact = measure_sharpness(net, [(images, labels)])
    net.unused = nn.Parameter(torch.ones(2))
    assert measure_sharpness(net, [(images, labels)]) == pytest.approx(exact, rel=0.05)
