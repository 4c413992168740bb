"""Crops of resized images, computed without the pixels outside the crop."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BILINEAR = Image.Resampling.BILINEAR


def resized_size(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """Width and height after resizing the shorter side, rounded in the way of torchvision."""
    if width <= height:
        return shorter_side, int(shorter_side * height / width)
    return int(shorter_side * width / height), shorter_side


def crop_of_resized(
    image: Image.Image, width: int, height: int, left: int, top: int, size: int
) -> Image.Image:
    """The square of `size` pixels at (left, top) of the image resized to width x height.

    Gives the same bytes as resizing the whole image with Pillow's antialiased bilinear filter and
    cropping the result. Pillow filters rows, then columns. Here it filters only the rows that the
    crop depends on, and then only the columns of the crop.
    """
    if image.height > 2 * image.width:  # Pillow 13 filters columns first here
        resized = image.resize((width, height), BILINEAR)
        return resized.crop((left, top, left + size, top + size))
    scale = image.height / height
    support = max(scale, 1.0) + 1  # radius of the filter in rows, plus one
    first = max(0, math.floor(top * scale - support))
    last = min(image.height, math.ceil((top + size) * scale + support))
    rows = image.crop((0, first, image.width, last)).resize((width, last - first), BILINEAR)
    # Pad the rows with black to the image's full height, which determines the filter's weights.
    columns = rows.crop((left, -first, left + size, image.height - first))
    return columns.resize((size, height), BILINEAR).crop((0, top, size, top + size))


def fast_crop_of_resized(
    image: Image.Image, width: int, height: int, left: int, top: int, size: int
) -> Image.Image:
    """Like crop_of_resized, but in half the time; rounding changes one byte in several hundred.

    Pillow computes only the crop, but rounds its corners to single precision. Most of the bytes
    that differ, differ by 1.
    """
    scale_x, scale_y = image.width / width, image.height / height
    box = (left * scale_x, top * scale_y, (left + size) * scale_x, (top + size) * scale_y)
    return image.resize((size, size), BILINEAR, box=box)


def to_tensor(image: Image.Image) -> Tensor:
    """The pixels (3, H, W) uint8 of an RGB image, in channels-last memory."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def stack_channels_last(views: list[Tensor]) -> Tensor:
    """Stack views of `to_tensor` to (B, 3, H, W) in channels-last memory, unlike torch.stack."""
    return torch.stack([view.permute(1, 2, 0) for view in views]).permute(0, 3, 1, 2)
