"""Building blocks of plain and residual nets (sections 3.2 and 3.3).

Parameters have torchvision's names, so that state dicts are interchangeable. Convolutions have no
bias, because batch normalization follows each of them (section 3.4).
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Shortcut = Literal["A", "B", "C"]
ShortcutPadding = Literal["behind", "around"]
BottleneckStride = Literal["1x1", "3x3"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that divides the size of the feature map by `stride`."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution that divides the size of the feature map by `stride`."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


class ZeroPaddedIdentity(nn.Module):
    """Option A: the identity, subsampled by `stride` and padded with channels of zeros.

    The paper does not say where the zeros go: "behind" the existing channels, or "around" them,
    half before and half behind.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = out_channels - in_channels
        self.padding: ShortcutPadding = "behind"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + extra_channels, H / stride, W / stride)."""
        # The same as x[:, :, ::stride, ::stride], but the gradient keeps the memory format of x.
        x = F.avg_pool2d(x, 1, self.stride)
        before = self.extra_channels // 2 if self.padding == "around" else 0
        return F.pad(x, (0, 0, 0, 0, before, self.extra_channels - before))


def make_shortcut(
    option: Shortcut, in_channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    """Build a block's shortcut with option A, B or C; None means the identity (equation 1)."""
    same_dimensions = in_channels == out_channels and stride == 1
    if option == "C" or (option == "B" and not same_dimensions):
        return nn.Sequential(
            conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
        )
    return None if same_dimensions else ZeroPaddedIdentity(in_channels, out_channels, stride)


class Block(nn.Module):
    """Computes ReLU(F(x) + shortcut(x)) if residual, or ReLU(F(x)) if plain (figure 2).

    A subclass overrides `branch`, and may override `shortcut` and `forward`. A custom `forward`
    should call `branch` and `shortcut`, because resnet-inspect measures and replaces them.
    """

    expansion: int

    def __init__(
        self, in_channels: int, channels: int, stride: int, residual: bool, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.residual = residual
        self.downsample = (
            make_shortcut(shortcut, in_channels, channels * self.expansion, stride)
            if residual
            else None
        )

    def branch(self, x: Tensor) -> Tensor:
        """Compute F(x): everything before the addition and the last ReLU."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """Compute what is added to F(x): x itself, or x mapped to the dimensions of F(x)."""
        out: Tensor = x if self.downsample is None else self.downsample(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels * expansion, H / stride, W / stride)."""
        out = self.branch(x)
        if self.residual:
            out = out + self.shortcut(x)
        # Only the sum is changed in place: a custom branch may return its input as F(x).
        return F.relu(out, inplace=self.residual)


class BasicBlock(Block):
    """Two 3x3 layers (figure 5, left)."""

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int, residual: bool, shortcut: Shortcut
    ) -> None:
        super().__init__(in_channels, channels, stride, residual, shortcut)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out: Tensor = self.bn2(self.conv2(x))
        return out


class Bottleneck(Block):
    """A 1x1, a 3x3 and a 1x1 layer; the last one has 4 times as many channels (figure 5, right).

    In the paper, the first 1x1 layer has the stride. `stride_on="3x3"` is torchvision's variant,
    known as ResNet v1.5.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        residual: bool,
        shortcut: Shortcut,
        stride_on: BottleneckStride = "1x1",
    ) -> None:
        super().__init__(in_channels, channels, stride, residual, shortcut)
        stride1, stride2 = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = conv1x1(in_channels, channels, stride1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride2)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        out: Tensor = self.bn3(self.conv3(x))
        return out
