"""Building blocks (sections 3.2 and 3.3): the same code with and without the addition.

Parameters have torchvision's names, so that state dicts are interchangeable. Batch normalization
follows every convolution, which therefore has no bias (section 3.4).
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
    """Option A: the identity, subsampled by `stride`, with zeros for the missing channels.

    The paper leaves open where the zeros go: all "behind" the existing channels, or "around" them,
    half before and half behind.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = out_channels - in_channels
        self.padding: ShortcutPadding = "behind"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + extra, H / stride, W / stride)."""
        # Equals x[:, :, ::stride, ::stride], but the gradient keeps the memory format of x.
        x = F.avg_pool2d(x, 1, self.stride)
        before = self.extra_channels // 2 if self.padding == "around" else 0
        return F.pad(x, (0, 0, 0, 0, before, self.extra_channels - before))


def shortcut_path(
    option: Shortcut, in_channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    """The shortcut of one block by option A, B or C; None means the identity (eq. 1)."""
    same_dimensions = in_channels == out_channels and stride == 1
    if option == "C" or (option == "B" and not same_dimensions):
        return nn.Sequential(
            conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
        )
    return None if same_dimensions else ZeroPaddedIdentity(in_channels, out_channels, stride)


class Block(nn.Module):
    """ReLU(F(x) + shortcut(x)) if residual, ReLU(F(x)) if plain (figure 2).

    A subclass overrides `branch`, and may override `shortcut` and `forward`. Inspection and lesions
    use `branch` and `shortcut`, so a custom `forward` should call them.
    """

    expansion: int

    def __init__(
        self, in_channels: int, channels: int, stride: int, residual: bool, shortcut: Shortcut
    ) -> None:
        super().__init__()
        self.residual = residual
        self.downsample = (
            shortcut_path(shortcut, in_channels, channels * self.expansion, stride)
            if residual
            else None
        )

    def branch(self, x: Tensor) -> Tensor:
        """F(x): everything before the addition and the last ReLU."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """The other summand: x itself, or x mapped to the dimensions of F(x)."""
        out: Tensor = x if self.downsample is None else self.downsample(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels * expansion, H / stride, W / stride)."""
        out = self.branch(x)
        if self.residual:
            out = out + self.shortcut(x)
        # In place only for the sum: F(x) itself may be the input of a custom branch.
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
    """Three layers: 1x1 to reduce the channels, 3x3, and 1x1 to expand them by 4 (figure 5, right).

    The paper puts the stride on the first 1x1 layer; `stride_on="3x3"` is torchvision's variant,
    known as v1.5.
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
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = conv1x1(in_channels, channels, first)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, second)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)

    def branch(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        out: Tensor = self.bn3(self.conv3(x))
        return out
