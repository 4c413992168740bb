"""Photographs on which nets are compared."""

import torch
from sklearn.datasets import load_sample_images


def photographs(count: int, size: int) -> torch.Tensor:
    """Squares cut out of scikit-learn's two photographs, (count, 3, size, size), standardized."""
    photos = [torch.tensor(photo).permute(2, 0, 1) for photo in load_sample_images().images]
    squares = torch.stack(
        [photos[i % 2][:, 9 * i : 9 * i + size, 17 * i : 17 * i + size] for i in range(count)]
    )
    return (squares / 255 - 0.45) / 0.25
