"""Chooses the images of an iteration and their crops, which depend only on the seed.

Random numbers are generated on the CPU, so that every device sees the same batches.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.system.rng import generator


class Crops(NamedTuple):
    """The positions of the crops of a batch in the padded images, and which crops are mirrored."""

    top: Tensor  # (B,) int64, rows of the padded image
    left: Tensor  # (B,) int64
    mirrored: Tensor  # (B,) bool


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_images: int) -> Tensor:
    return torch.randperm(num_images, generator=generator("order", seed, epoch))


def batch_indices(seed: int, iteration: int, batch_size: int, num_images: int) -> Tensor:
    """Return the image indices of an iteration (the first is 0), int64 of shape (batch_size,).

    Every batch is full: a batch may span two epochs.
    """
    first, end = iteration * batch_size, (iteration + 1) * batch_size
    parts = []
    while first < end:
        epoch, offset = divmod(first, num_images)
        count = min(end - first, num_images - offset)
        parts.append(_epoch_order(seed, epoch, num_images)[offset : offset + count])
        first += count
    return torch.cat(parts)


def draw_crops(seed: int, iteration: int, batch_size: int, pad: int, mirror: bool) -> Crops:
    """Draw uniform offsets in [0, 2 * pad], and mirror with probability 0.5 (section 4.2)."""
    rng = generator("crops", seed, iteration)
    top, left = torch.randint(0, 2 * pad + 1, (2, batch_size), generator=rng)
    mirrored = torch.randint(0, 2, (batch_size,), generator=rng) == 1
    return Crops(top, left, mirrored if mirror else torch.zeros_like(mirrored))


def pad_images(images: Tensor, pad: int) -> Tensor:
    """Pad images (N, C, H, W) with zeros; return them as (N, H + 2 pad, W + 2 pad, C)."""
    return F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1).contiguous()


def crop_images(padded: Tensor, indices: Tensor, crops: Crops, size: int) -> Tensor:
    """Crop a square of `size` pixels from each of `padded[indices]`.

    padded: images of shape (N, H, W, C). Returns images of shape (B, C, size, size) with the same
    dtype, in channels-last memory.
    """
    _, height, width, channels = padded.shape
    window = torch.arange(size, device=padded.device)
    rows = indices[:, None] * height + crops.top[:, None] + window  # (B, size)
    columns = crops.left[:, None] + torch.where(crops.mirrored[:, None], window.flip(0), window)
    # One flat index per pixel is three times as fast as separate indices for three dimensions.
    pixels = (rows[:, :, None] * width + columns[:, None, :]).flatten()
    crop = padded.view(-1, channels).index_select(0, pixels)
    return crop.view(len(indices), size, size, channels).permute(0, 3, 1, 2)
