"""Arranges images and their class names in one picture for TensorBoard."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from resnet_degradation.system.encoding import escape_non_utf8

MAX_COLUMNS = 8
MARGIN, NAME_HEIGHT, FONT_SIZE = 4, 16, 12  # in pixels
MIN_SIDE = 64  # in pixels; smaller images are enlarged so that a name fits below


def make_contact_sheet(images: Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Arrange images in rows, with a name below each.

    images: float tensor of shape (N, 3, H, W) with values in [0, 1].
    Returns a uint8 array of shape (height, width, 3).
    """
    pixels = (images.cpu() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    scale = math.ceil(MIN_SIDE / min(pixels.shape[1:3]))
    height, width = scale * pixels.shape[1], scale * pixels.shape[2]
    columns = min(MAX_COLUMNS, len(pixels))
    rows = math.ceil(len(pixels) / columns)
    cell_height, cell_width = height + NAME_HEIGHT + MARGIN, width + MARGIN
    size = (columns * cell_width + MARGIN, rows * cell_height + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for index, (image, name) in enumerate(zip(pixels, names, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * cell_width, MARGIN + row * cell_height
        enlarged = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
        draw.text((left, top + height), _shorten(escape_non_utf8(name), font, width), "black", font)
    return np.asarray(sheet)


def _shorten(name: str, font: Any, width: int) -> str:
    """Put a name on one line, and shorten it to `width` pixels."""
    name = " ".join(name.split())[:width]
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(f"{name}...") > width:
        name = name[:-1]
    return f"{name}..."
