"""A training loop in the style of public CIFAR ResNet repositories, for comparison.

It uses no code of this project. The net is contiguous and runs eagerly. DataLoader workers augment
PIL images one by one with torchvision's transforms. Loss and error are read after every step.
"""

from collections.abc import Iterator

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Block(nn.Module):
    """Two 3x3 layers, with an option A shortcut if the net is residual."""

    def __init__(self, in_channels: int, channels: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.residual, self.stride = residual, stride
        self.num_new_channels = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.residual:
            if self.stride > 1:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.num_new_channels))
            out = out + x
        return F.relu(out)


class ResNet(nn.Module):
    """The net of section 4.2 of the paper; a plain net unless `residual`."""

    def __init__(self, depth: int, residual: bool, width: float, num_classes: int) -> None:
        super().__init__()
        channels = [round(width * number) for number in (16, 32, 64)]
        self.conv1 = nn.Conv2d(3, channels[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        stages: list[nn.Sequential] = []
        for before, after in zip([channels[0], *channels], channels, strict=False):
            stride = 1 if not stages else 2
            blocks = [Block(before, after, stride, residual)]
            blocks += [Block(after, after, 1, residual) for _ in range((depth - 2) // 6 - 1)]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(channels[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(F.avg_pool2d(x, x.shape[-1]).flatten(1))
        return logits


class Images(Dataset[tuple[Tensor, int]]):
    """Images in memory, augmented as in section 4.2 of the paper.

    images: uint8 tensor of shape (N, 3, H, W).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.labels = labels.tolist()
        size = images.shape[-1]
        self.transform = T.Compose(
            [
                T.RandomCrop(size, padding=4),
                T.RandomHorizontalFlip(),
                T.ToTensor(),
                T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def steps(
    net: nn.Module, images: Tensor, labels: Tensor, batch_size: int, device: str = "cpu"
) -> Iterator[None]:
    """Make one training step whenever the next item is requested."""
    net.to(device)
    loader = DataLoader(
        Images(images, labels), batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    net.train()
    losses, correct, seen = 0.0, 0, 0
    while True:
        for cpu_images, cpu_labels in loader:
            inputs, targets = cpu_images.to(device), cpu_labels.to(device)
            outputs = net(inputs)
            loss = criterion(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
            correct += (outputs.argmax(1) == targets).sum().item()
            seen += len(targets)
            yield
