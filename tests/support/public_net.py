"""A CIFAR net in the style of public repositories."""

from torch import Tensor, nn
from torch.nn import functional as F


class PublicBlock(nn.Module):
    """A basic block of public CIFAR nets.

    zeros: the place of option A's zero channels ("around" or "behind"), or the name of the module
    if the shortcut is a projection.
    """

    def __init__(self, before: int, channels: int, stride: int, zeros: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.zeros, self.channels, self.changes = zeros, channels, before != channels
        if self.changes and zeros not in ("around", "behind"):
            projection = nn.Conv2d(before, channels, 1, stride, bias=False)
            setattr(self, zeros, nn.Sequential(projection, nn.BatchNorm2d(channels)))

    def beside(self, x: Tensor) -> Tensor:
        if not self.changes:
            return x
        if self.zeros == "around":
            quarter = self.channels // 4
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        if self.zeros == "behind":
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.channels // 2))
        projected: Tensor = getattr(self, self.zeros)(x)
        return projected

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.beside(x))


class PublicNet(nn.Module):
    """A public net for small images: 3x3 first layer, stages of basic blocks, one last layer."""

    def __init__(
        self,
        num_blocks: list[int],
        channels: list[int],
        zeros: str,
        last: str = "linear",
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        before, self.stages, self.last = channels[0], len(channels), last
        for stage, (count, width) in enumerate(zip(num_blocks, channels, strict=True)):
            blocks = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(PublicBlock(before, width, stride, zeros))
                before = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.add_module(last, nn.Linear(before, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        logits: Tensor = self.get_submodule(self.last)(x.mean(dim=(2, 3)))
        return logits
