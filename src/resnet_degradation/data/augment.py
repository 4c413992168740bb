"""Augmentation as batched tensor operations, on the device that holds the images.

What is drawn is a pure function of (seed, iteration). It is drawn on the CPU, so that every
device sees the same crops.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.system.rng import generator


@dataclass(frozen=True)
class Crops:
    """Where each image of a batch is cut out of its padded original, and whether mirrored."""

    top: Tensor  # (B,) int64, rows of the padded image
    left: Tensor  # (B,) int64
    mirrored: Tensor  # (B,) bool


def draw_crops(seed: int, iteration: int, batch_size: int, pad: int, mirror: bool) -> Crops:
    """Uniform offsets in [0, 2 * pad] and mirroring with probability one half (section 4.2)."""
    rng = generator("crops", seed, iteration)
    top, left = torch.randint(0, 2 * pad + 1, (2, batch_size), generator=rng)
    coin = torch.randint(0, 2, (batch_size,), generator=rng) == 1
    return Crops(top, left, coin if mirror else torch.zeros_like(coin))


def pad_images(images: Tensor, pad: int) -> Tensor:
    """(N, C, H, W) -> (N, H + 2 pad, W + 2 pad, C), zeros around, channels last."""
    return F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1).contiguous()


def crop(padded: Tensor, indices: Tensor, crops: Crops, size: int) -> Tensor:
    """Cut one square of `size` out of each of `padded[indices]`.

    padded: (N, H, W, C). Returns (B, C, size, size) in channels-last memory, of padded's dtype.
    """
    _, height, width, channels = padded.shape
    window = torch.arange(size, device=padded.device)
    rows = indices[:, None] * height + crops.top[:, None] + window  # (B, size)
    columns = crops.left[:, None] + torch.where(crops.mirrored[:, None], window.flip(0), window)
    # One index a pixel is a third of the time of one index for each of three dimensions.
    pixels = (rows[:, :, None] * width + columns[:, None, :]).flatten()
    cut = padded.view(-1, channels).index_select(0, pixels)
    return cut.view(len(indices), size, size, channels).permute(0, 3, 1, 2)
