"""Batches of images ready for a net: shuffled, augmented, with the mean subtracted.

Small images of one size live in memory, on the training device (`MemoryBatches`); others are
decoded by worker processes as they are needed (`StreamBatches`, in stream.py).
"""

from collections.abc import Generator
from typing import Protocol

import torch
from torch import Tensor

from resnet_degradation.data.decode import DecodeStats
from resnet_degradation.data.test_views import EvalProtocol, ViewedBatches

Batch = tuple[Tensor, Tensor]  # (B, C, H, W) float32, (B,) int64, both on the device

# To be closed by who does not exhaust it: worker processes may stand behind it.
BatchGenerator = Generator[Batch, None, None]


class Batches(Protocol):
    """What the training loop asks of its data: this process's part of every batch."""

    num_train: int
    splits: dict[str, int]  # held-out split -> its number of images
    num_classes: int
    mean: Tensor  # (C, H, W), or (C, 1, 1), of pixels in [0, 1]: it is subtracted
    std: Tensor | None  # (C, 1, 1): what is left is divided by it, if it is given
    decode_stats: DecodeStats | None  # of training images; None if they are in memory

    def training(self, start: int, stop: int) -> BatchGenerator:
        """The batches of iterations start .. stop - 1, each a function of (seed, iteration).

        Processes that train together get consecutive parts of the same batch.
        """
        ...

    def held_out(self, split: str) -> BatchGenerator:
        """Every image of a held-out split once, as its single centre view.

        Processes get equally many batches, some of which may be empty.
        """
        ...

    def viewed(self, split: str, protocol: EvalProtocol) -> ViewedBatches:
        """Every image of a held-out split once, in its views by `protocol`, which is not center."""
        ...


def mean_image(images: Tensor) -> Tensor:
    """The mean (C, H, W) float64 of uint8 images (N, C, H, W), in [0, 1].

    Sums are of integers, so the mean does not depend on the order of the images.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for part in images.split(4096):
        total += part.sum(dim=0, dtype=torch.int64).cpu()
    return total.double() / (255 * len(images))


def shard(images: Tensor, std: Tensor | None) -> Tensor:
    """Images (..., C, H, W) divided by a deviation (C, 1, 1), if there is one."""
    return images if std is None else images / std
