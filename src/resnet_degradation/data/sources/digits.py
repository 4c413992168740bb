"""The bundled data: scikit-learn's scanned digits."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.system.rng import generator

DIGITS_HELD_OUT = 360


def load_digits(image_size: int) -> Source:
    """scikit-learn's 1,797 scanned 8x8 digits, enlarged bilinearly, as three equal channels.

    With three channels the nets are exactly those of the paper. The same 360 digits are always
    held out.
    """
    table = torch.from_numpy(digits_table())
    small = table[:, :64].float().reshape(-1, 1, 8, 8) / 16  # (1797, 1, 8, 8) in [0, 1]
    enlarged = F.interpolate(small, size=(image_size, image_size), mode="bilinear")
    images = (enlarged * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    everything = Arrays(images, table[:, 64].long())
    order = torch.randperm(len(images), generator=generator("digits split"))
    return Source(
        train=everything.subset(order[DIGITS_HELD_OUT:]),
        held_out={"val": everything.subset(order[:DIGITS_HELD_OUT])},
        classes=[str(digit) for digit in range(10)],
    )


def digits_table() -> "np.ndarray[Any, Any]":
    """scikit-learn's digits (1797, 65): 64 values from 0 to 16, row by row, and the label.

    Reads the file directly if it can: importing scikit-learn takes most of a second.
    """
    package = importlib.util.find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets/data/digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
