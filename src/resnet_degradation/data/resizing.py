"""Crops of resized images, computed without the pixels outside the crop."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BILINEAR = Image.Resampling.BILINEAR


def resized_size(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """The width and height of an image whose shorter side was resized, as torchvision rounds."""
    if width <= height:
        return shorter_side, int(shorter_side * height / width)
    return int(shorter_side * width / height), shorter_side


def crop_of_resized(
    image: Image.Image, width: int, height: int, left: int, top: int, size: int
) -> Image.Image:
    """The square of `size` pixels at (left, top) of the image resized to width x height.

    The same bytes as resizing everything with Pillow's antialiased bilinear filter, then cropping.
    Pillow filters rows, then columns. Here it gets only the rows of the image that the crop depends
    on, and then only the columns of the crop.
    """
    if image.height > 2 * image.width:  # Pillow 13 filters the columns of these first
        whole = image.resize((width, height), BILINEAR)
        return whole.crop((left, top, left + size, top + size))
    scale = image.height / height
    reach = max(scale, 1.0) + 1  # of the filter, in rows of the image, and one to spare
    first = max(0, math.floor(top * scale - reach))
    last = min(image.height, math.ceil((top + size) * scale + reach))
    rows = image.crop((0, first, image.width, last)).resize((width, last - first), BILINEAR)
    # The rows left out are black here: the filter needs the image's height for its weights.
    columns = rows.crop((left, -first, left + size, image.height - first))
    return columns.resize((size, height), BILINEAR).crop((0, top, size, top + size))


def fast_crop_of_resized(
    image: Image.Image, width: int, height: int, left: int, top: int, size: int
) -> Image.Image:
    """The same in half the time, but for rounding: one byte in some hundreds differs, mostly by 1.

    Pillow computes the crop alone, but rounds its corners to single precision.
    """
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return image.resize((size, size), BILINEAR, box=box)


def to_tensor(image: Image.Image) -> Tensor:
    """The pixels (3, H, W) uint8 of an RGB image, in channels-last memory."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def stack_channels_last(views: list[Tensor]) -> Tensor:
    """Views of `to_tensor`, (B, 3, H, W) channels-last, which torch.stack would reorder."""
    return torch.stack([view.permute(1, 2, 0) for view in views]).permute(0, 3, 1, 2)
