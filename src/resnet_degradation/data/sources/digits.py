"""The bundled data set: scikit-learn's scanned digits."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.system.rng import generator

NUM_HELD_OUT = 360


def load_digits(image_size: int) -> Source:
    """Load scikit-learn's 1,797 scanned 8x8 digits, enlarged bilinearly.

    The three channels are equal, so that the nets are exactly those of the paper. The same 360
    digits are always held out.
    """
    table = torch.from_numpy(read_digits_table())
    small = table[:, :64].float().reshape(-1, 1, 8, 8) / 16  # (1797, 1, 8, 8) in [0, 1]
    enlarged = F.interpolate(small, size=(image_size, image_size), mode="bilinear")
    images = (enlarged * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    digits = Arrays(images, table[:, 64].long())
    order = torch.randperm(len(images), generator=generator("digits split"))
    return Source(
        train=digits.subset(order[NUM_HELD_OUT:]),
        held_out={"val": digits.subset(order[:NUM_HELD_OUT])},
        classes=[str(digit) for digit in range(10)],
    )


def read_digits_table() -> "np.ndarray[Any, Any]":
    """Read scikit-learn's digits, of shape (1797, 65): 64 pixels from 0 to 16, then the label.

    Reads the file directly if possible, because importing scikit-learn takes most of a second.
    """
    package = importlib.util.find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets/data/digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
