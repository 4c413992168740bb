"""The colours of training images: what section 3.4 subtracts from them, and adds to them."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.cache import fingerprints, write_if_possible
from resnet_degradation.data.dataset import Files, evenly_spaced
from resnet_degradation.data.decode import CentreView, every_view
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed

# Enough for the mean and the three principal components to be stable to well under 1 %.
MAX_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class ChannelStatistics:
    """What is known of the training images' colours, in [0, 1]."""

    mean: Tensor  # (3, H, W)
    eigenvalues: Tensor  # (3,) of the covariance of RGB values
    eigenvectors: Tensor  # (3, 3), one a column

    def axes(self) -> Tensor:
        """The eigenvectors, each times its eigenvalue (3, 3), one a column."""
        return self.eigenvectors * self.eigenvalues


def channel_statistics(
    files: Files,
    image_size: int,
    shorter_side: int,
    num_workers: int,
    cache: Path,
    report: ReportProgress = ignore_progress,
) -> ChannelStatistics:
    """The mean image and the principal components of RGB over (at most 10,000) training images.

    Computed from centre views, once, and kept in `cache` for the runs that follow.
    """
    sampled = files.subset(evenly_spaced(len(files), MAX_STATISTICS_IMAGES))
    key = [image_size, shorter_side, *fingerprints(sampled.paths)]
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).hexdigest()
    stem = f"colours-{name}"
    for file in cache.glob(f"{stem}-*.pt"):
        try:
            return ChannelStatistics(**load_checksummed(file))
        except (DamagedError, TypeError, PermissionError):
            with suppress(OSError):
                file.unlink()
    total = torch.zeros(3, image_size, image_size, dtype=torch.int64)
    products = torch.zeros(3, 3, dtype=torch.float64)
    view = CentreView(image_size, shorter_side)
    for views in every_view(sampled, view, 64, num_workers, "mean and colours", report):
        total += views.sum(dim=0)
        pixels = views.permute(1, 0, 2, 3).reshape(3, -1).double() / 255
        products += pixels @ pixels.T
    num_pixels = len(sampled) * image_size**2
    mean = total.double() / (255 * len(sampled))
    channel_mean = mean.mean(dim=(1, 2))
    covariance = products / num_pixels - torch.outer(channel_mean, channel_mean)
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    statistics = {
        "mean": mean.float(),
        "eigenvalues": eigenvalues.clamp(min=0).float(),
        "eigenvectors": eigenvectors.float(),
    }
    with write_if_possible():
        cache.mkdir(parents=True, exist_ok=True)
        save_checksummed(cache, stem, statistics)
    return ChannelStatistics(**statistics)
