"""Batches decoded from image files by worker processes, as section 3.4 trains on ImageNet.

The view of an image is drawn from (seed, iteration, position in the batch), so it does not
depend on the number of workers nor on which of them decodes it. Workers decode, resize and crop;
what can be done for a whole batch (colours, mean) is done on the training device.
"""

from collections.abc import Generator, Iterable, Iterator

import torch
from torch import Tensor

from resnet_degradation.data.batches import BatchGenerator, shard
from resnet_degradation.data.dataset import Files
from resnet_degradation.data.decode import (
    CentreView,
    DecodeStats,
    JitteredView,
    View,
    ViewRequest,
    decoded,
    one_view_each,
)
from resnet_degradation.data.order import batch_indices
from resnet_degradation.data.test_views import (
    EvalProtocol,
    FileViews,
    ViewedBatch,
    ViewedBatches,
    ViewsOfSize,
    by_size,
    packed,
    resized,
    with_mirrors,
)
from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.system.rng import generator


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
        mean: Tensor,
        std: Tensor | None = None,
        colours: Tensor | None = None,
        colour_std: float = 0.0,
        eval_batch_size: int,
        num_workers: int,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        """mean, std: as for `MemoryBatches`.

        colours (3, 3): the principal components of RGB, one a column, of which so much is added to
        an image as is drawn from a normal distribution with deviation `colour_std`.
        """
        self.num_train = len(train)
        self.splits = {name: len(files) for name, files in held_out.items()}
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.device = device
        self.world = world
        self.decode_stats: DecodeStats | None = DecodeStats()
        self._share = self.world.share(batch_size)
        self._train = train
        self._labels = train.labels
        self._files = held_out
        self._training_view = JitteredView(seed, image_size, scale, mirror)
        # Testing's single view is as large, in proportion, as the smallest of training.
        self._centre_view = CentreView(image_size, scale[0])
        self.mean = mean.to(device)
        self.std = None if std is None else std.to(device)
        self._colours = colours
        self._colour_std = colour_std

    def training(self, start: int, stop: int) -> BatchGenerator:
        """See `Batches.training`."""

        def requests() -> Iterator[list[ViewRequest]]:
            for iteration in range(start, stop):
                indices = list(enumerate(self._indices(iteration).tolist()))
                yield [(index, iteration, i) for i, index in indices[self._share]]

        views = self._decode(self._train, self._training_view, requests(), self.decode_stats)
        for iteration, pixels in zip(range(start, stop), views, strict=True):
            images = self._on_device(pixels) - self.mean
            if self._colours is not None:
                images = images + self._colour_shift(iteration, self._colours)
            images = shard(images, self.std)
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
            images = shard(self._on_device(pixels[: len(own)]) - self.mean, self.std)
            yield images.contiguous(memory_format=torch.channels_last), own

    def viewed(self, split: str, protocol: EvalProtocol) -> ViewedBatches:
        """See `Batches.viewed`."""
        files, view = self._files[split], FileViews(protocol)
        count = protocol.images_per_batch(self.eval_batch_size)
        requests = one_view_each(len(files), count)
        found = decoded(files, view, requests, self.num_workers, self.device, join=packed)
        for images, labels in zip(found, files.labels.split(count), strict=True):
            sizes = []
            for rows, pixels in by_size(images.unpacked()):
                mean = resized(self.mean, *pixels.shape[-2:])
                views = self._on_device(pixels)
                if protocol.name == "multi-scale":
                    # As in training, the mean is that of images as they are, not mirrored.
                    views = with_mirrors(views, protocol.mirror)
                views = shard(views - mean, self.std)
                sizes.append(ViewsOfSize(torch.tensor(rows, device=self.device), views))
            yield ViewedBatch(sizes, labels.to(self.device))

    def _decode(
        self,
        files: Files,
        view: View[Tensor],
        requests: Iterable[list[ViewRequest]],
        supply: DecodeStats | None = None,
    ) -> Generator[Tensor, None, None]:
        workers, device = self.num_workers, self.device
        return decoded(files, view, requests, workers, device, supply, join=torch.stack)

    def _indices(self, iteration: int) -> Tensor:
        return batch_indices(self.seed, iteration, self.batch_size, self.num_train)

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, non_blocking=True) / 255

    def _colour_shift(self, iteration: int, colours: Tensor) -> Tensor:
        """What the colour augmentation adds to every pixel of an image: (B, 3, 1, 1)."""
        rng = generator("colours", self.seed, iteration)
        alpha = torch.randn(self.batch_size, 3, generator=rng)[self._share] * self._colour_std
        return (alpha @ colours.T)[:, :, None, None].to(self.device, non_blocking=True)
