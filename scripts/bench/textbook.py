"""A training step as the usual CIFAR ResNet repositories write it, for comparison with the trainer.

Plain PyTorch: a contiguous net run eagerly, and a DataLoader whose workers augment one PIL image
after another with torchvision's transforms.
"""

from collections.abc import Iterator

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[tuple[Tensor, int]]):
    """uint8 images (N, 3, H, W) in memory, augmented as section 4.2 says."""

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
