"""Which images make up an iteration: a pure function of the seed and the iteration.

The training set is gone through in one shuffled order after another, without a gap: every batch
is full, no image is left out, and an iteration may span two epochs.
"""

from functools import lru_cache

import torch
from torch import Tensor

from resnet_degradation.system.rng import generator


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_images: int) -> Tensor:
    return torch.randperm(num_images, generator=generator("order", seed, epoch))


def batch_indices(seed: int, iteration: int, batch_size: int, num_images: int) -> Tensor:
    """The indices (batch_size,) int64 of the images of `iteration`, counted from 0."""
    first, end = iteration * batch_size, (iteration + 1) * batch_size
    parts = []
    while first < end:
        epoch, offset = divmod(first, num_images)
        count = min(end - first, num_images - offset)
        parts.append(_epoch_order(seed, epoch, num_images)[offset : offset + count])
        first += count
    return torch.cat(parts)
