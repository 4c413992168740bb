"""Does adding x restrict a net? A residual net that computes exactly what a plain net computes.

A block receives x >= 0, the output of a ReLU, and ends with ReLU(F(x) + x). It computes a plain
block ReLU(G(x)) if F(x) = G(x) - x. For that, F needs G's inner channels, and one more for each
channel of x: Dirac kernels carry x through the inner ReLU, which does not change it, and the second
convolution subtracts it. So blocks of larger inner width contain every plain block; this program
builds them from a trained plain net. docs/residual-representations.md says what is proved.
"""

import torch
from rich.console import Console
from torch import Tensor, nn

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.schema import RuntimeConfig
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.nets.blocks import BasicBlock, Shortcut, conv3x3
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.training.load_run import load_trained
from resnet_degradation.training.session import train


class WideInside(BasicBlock):
    """A basic block with one more inner channel for each channel of its input."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, residual: bool, shortcut: Shortcut
    ) -> None:
        super().__init__(in_channels, channels, stride, residual, shortcut)
        self.conv1 = conv3x3(in_channels, channels + in_channels, stride)
        self.bn1 = nn.BatchNorm2d(channels + in_channels)
        self.conv2 = conv3x3(channels + in_channels, channels)


@torch.no_grad()
def subtract_x(plain: BasicBlock, wide: WideInside) -> None:
    """Make F(x) of a residual block a plain block's G(x) minus x, in evaluation mode, in place."""
    outside, inside = plain.conv2.out_channels, plain.conv1.out_channels
    carried = wide.conv1.out_channels - inside
    wide.conv1.weight[:inside] = plain.conv1.weight
    nn.init.dirac_(wide.conv1.weight[inside:])
    _make_identity(wide.bn1)
    for name, value in plain.bn1.state_dict().items():
        if value.dim():
            wide.bn1.state_dict()[name][:inside] = value
    # The second normalization becomes part of the convolution, so that x stays as it is.
    norm = plain.bn2
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    wide.conv2.weight.zero_()
    wide.conv2.weight[:, :inside] = plain.conv2.weight * scale.view(-1, 1, 1, 1)
    channels = torch.arange(min(carried, outside))
    wide.conv2.weight[channels, inside + channels, 1, 1] = -1
    _make_identity(wide.bn2)
    wide.bn2.bias.copy_(norm.bias - scale * norm.running_mean)


def _make_identity(norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
    norm.weight.fill_(1).mul_((1 + norm.eps) ** 0.5)
    norm.bias.zero_()


def residual_twin(plain: ResNet, width: float = 1.0) -> ResNet:
    """A residual net of WideInside blocks with the logits of a plain net, in evaluation mode."""
    twin = ResNet(
        plain.arch.depth,
        residual=True,
        family=plain.arch.family,
        width=width,
        num_classes=plain.fc.out_features,
        custom_block=WideInside,
    )
    with torch.no_grad():
        for name, value in plain.state_dict().items():
            if not name.startswith("layer"):
                twin.state_dict()[name].copy_(value)
    for block, wide in zip(plain.blocks().values(), twin.blocks().values(), strict=True):
        assert isinstance(block, BasicBlock)
        assert isinstance(wide, WideInside)
        subtract_x(block, wide)
    return twin.eval()


@torch.no_grad()
def largest_difference(plain: ResNet, twin: ResNet, images: Tensor) -> tuple[float, float]:
    """The largest difference between their logits for images (N, 3, H, W), and largest logit."""
    one, other = plain(images), twin(images)
    return float((one - other).abs().max()), float(one.abs().max())


def main(*overrides: str) -> None:
    """Train plain-20, or find it trained; build its residual twin and compare their logits."""
    config = compose_config("depth=20", "residual=false", *overrides)
    folder = train(config, RunProgress(Console(stderr=True)))
    trained = load_trained(folder, RuntimeConfig(), torch.device("cpu"), num_held_out=500)
    (images, _), *_ = trained.batches.held_out(next(iter(trained.batches.splits)))
    difference, largest = largest_difference(
        trained.net, residual_twin(trained.net, config.width), images
    )
    print(
        f"{folder.name} and a residual net with the same function: logits of up to {largest:.1f} "
        f"differ by at most {difference:.0e} on {len(images)} held-out images"
    )


if __name__ == "__main__":
    main()
