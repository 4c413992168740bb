"""Batches decoded from image files by worker processes, as section 4.1 trains on ImageNet.

The view of an image is drawn from (seed, iteration, position in the batch), so it does not
depend on the number of workers nor on which of them decodes it. Workers decode, resize and crop;
what can be done for a whole batch (colours, mean) is done on the training device.
"""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.data.batches import BatchGenerator
from resnet_degradation.data.order import batch_indices
from resnet_degradation.data.sources import Files, fingerprints
from resnet_degradation.data.views import (
    CentreView,
    JitteredView,
    Report,
    Supply,
    View,
    ViewRequest,
    decoded,
    every_view,
    no_report,
    one_view_each,
)
from resnet_degradation.distributed import ALONE, World
from resnet_degradation.sealed import DamagedError, load_sealed, save_sealed
from resnet_degradation.seeding import generator

# Enough for the mean and the three principal components to be stable to well under 1 %.
MAX_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class ColourStatistics:
    """What is known of the training images' colours, in [0, 1]."""

    mean: Tensor  # (3, H, W)
    eigenvalues: Tensor  # (3,) of the covariance of RGB values
    eigenvectors: Tensor  # (3, 3), one a column


def colour_statistics(
    files: Files,
    image_size: int,
    shorter_side: int,
    num_workers: int,
    cache: Path,
    report: Report = no_report,
) -> ColourStatistics:
    """The mean image and the principal components of RGB over (at most 10,000) training images.

    Computed from centre views, once, and kept in `cache` for the runs that follow.
    """
    sampled = files.subset(evenly_spaced(len(files), MAX_STATISTICS_IMAGES))
    key = [image_size, shorter_side, *fingerprints(sampled.paths)]
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).hexdigest()
    stem = f"colours-{name}"
    for file in cache.glob(f"{stem}-*.pt"):
        try:
            return ColourStatistics(**load_sealed(file))
        except (DamagedError, TypeError):
            file.unlink(missing_ok=True)
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
    cache.mkdir(parents=True, exist_ok=True)
    save_sealed(cache, stem, statistics)
    return ColourStatistics(**statistics)


def evenly_spaced(num_images: int, at_most: int) -> Tensor:
    """Indices of so many images or fewer, spread over all of them: files are sorted by class."""
    count = min(num_images, at_most)
    return torch.arange(count) * num_images // count


class StreamBatches:
    """Batches decoded from files; see `Batches` for what each method gives."""

    def __init__(
        self,
        train: Files,
        held_out: dict[str, Files],
        *,
        num_classes: int,
        batch_size: int,
        seed: int,
        image_size: int,
        scale: tuple[int, int],
        mirror: bool,
        colour_std: float,
        mean_per_pixel: bool,
        eval_batch_size: int,
        num_workers: int,
        cache: Path,
        device: torch.device,
        world: World = ALONE,
        report: Report = no_report,
    ) -> None:
        self.num_train = len(train)
        self.splits = {name: len(files) for name, files in held_out.items()}
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.colour_std = colour_std
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.device = device
        self.world = world
        self.supply: Supply | None = Supply()
        self._share = self.world.share(batch_size)
        self._train = train
        self._labels = train.labels
        self._files = held_out
        self._training_view = JitteredView(seed, image_size, scale, mirror)
        # Testing's single view is as large, in proportion, as the smallest of training.
        self._centre_view = CentreView(image_size, scale[0])
        statistics = self.world.from_main(
            lambda: colour_statistics(train, image_size, scale[0], num_workers, cache, report)
        )
        mean = statistics.mean
        self.mean = (mean if mean_per_pixel else mean.mean(dim=(1, 2), keepdim=True)).to(device)
        # Column c of this matrix is eigenvector c times eigenvalue c.
        self._colours = statistics.eigenvectors * statistics.eigenvalues

    def training(self, start: int, stop: int) -> BatchGenerator:
        """See `Batches.training`."""

        def requests() -> Iterator[list[ViewRequest]]:
            for iteration in range(start, stop):
                indices = list(enumerate(self._indices(iteration).tolist()))
                yield [(index, iteration, i) for i, index in indices[self._share]]

        views = self._decode(self._train, self._training_view, requests(), self.supply)
        for iteration, pixels in zip(range(start, stop), views, strict=True):
            images = self._centred(pixels) + self._colour_shift(iteration)
            labels = self._labels[self._indices(iteration)[self._share]]
            labels = labels.to(self.device, non_blocking=True)
            yield images.contiguous(memory_format=torch.channels_last), labels

    def held_out(self, split: str) -> BatchGenerator:
        """See `Batches.held_out`."""
        files = self._files[split]
        batches = one_view_each(len(files), self.eval_batch_size)
        # Where there is nothing to decode for this process, it decodes one image for nothing.
        requests = [batch[self.world.share(len(batch))] or batch[:1] for batch in batches]
        views = self._decode(files, self._centre_view, requests)
        labels = files.labels.split(self.eval_batch_size)
        for pixels, part in zip(views, labels, strict=True):
            own = part[self.world.share(len(part))].to(self.device)
            images = self._centred(pixels[: len(own)])
            yield images.contiguous(memory_format=torch.channels_last), own

    def _decode(
        self,
        files: Files,
        view: View,
        requests: Iterable[list[ViewRequest]],
        supply: Supply | None = None,
    ) -> Generator[Tensor, None, None]:
        return decoded(files, view, requests, self.num_workers, self.device, supply)

    def _indices(self, iteration: int) -> Tensor:
        return batch_indices(self.seed, iteration, self.batch_size, self.num_train)

    def _centred(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, non_blocking=True) / 255 - self.mean

    def _colour_shift(self, iteration: int) -> Tensor:
        """What the colour augmentation adds to every pixel of an image: (B, 3, 1, 1)."""
        rng = generator("colours", self.seed, iteration)
        alpha = torch.randn(self.batch_size, 3, generator=rng)[self._share] * self.colour_std
        return (alpha @ self._colours.T)[:, :, None, None].to(self.device, non_blocking=True)
