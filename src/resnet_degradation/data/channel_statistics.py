"""The mean image and the principal components of RGB colours (section 3.4 of the paper)."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.cache import cache_key, load_or_compute
from resnet_degradation.data.dataset import Files, evenly_spaced_indices
from resnet_degradation.data.decode import decode_all
from resnet_degradation.data.views import read_centre_view

# With this many images, the mean and the principal components vary by well under 1 %.
MAX_STATISTICS_IMAGES = 10_000


def channel_statistics(
    files: Files,
    image_size: int,
    shorter_side: int,
    num_workers: int,
    cache: Path,
    progress: ReportProgress = ignore_progress,
) -> tuple[Tensor, Tensor]:
    """Return the mean image, of shape (3, H, W) in [0, 1], and the colour axes, of shape (3, 3).

    Each column of the axes is an eigenvector of the covariance of RGB values, times its eigenvalue.
    The statistics are computed from centre views of at most 10,000 images, and load_or_compute.
    """
    sampled = files.subset(evenly_spaced_indices(len(files), MAX_STATISTICS_IMAGES))
    view = partial(read_centre_view, image_size=image_size, shorter_side=shorter_side)

    def compute() -> dict[str, Tensor]:
        total = torch.zeros(3, image_size, image_size, dtype=torch.int64)
        products = torch.zeros(3, 3, dtype=torch.float64)
        for views in decode_all(sampled, view, num_workers, "colour statistics", progress):
            total += views.sum(dim=0)
            pixels = views.permute(1, 0, 2, 3).reshape(3, -1).double() / 255
            products += pixels @ pixels.T
        mean = total.double() / (255 * len(sampled))
        channel_mean = mean.mean(dim=(1, 2))
        covariance = products / (len(sampled) * image_size**2)
        covariance -= torch.outer(channel_mean, channel_mean)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        return {
            "mean": mean.float(),
            "eigenvalues": eigenvalues.clamp(min=0).float(),
            "eigenvectors": eigenvectors.float(),
        }

    name = f"colours-{cache_key(sampled.paths, image_size, shorter_side)}"
    statistics = load_or_compute(cache, name, compute)
    return statistics["mean"], statistics["eigenvectors"] * statistics["eigenvalues"]
