"""Batches of images ready for a net: shuffled, augmented, with the mean subtracted.

Small images of one size live in memory, on the training device (`MemoryBatches`); others are
decoded by worker processes as they are needed (`StreamBatches`, in stream.py).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.data.augment import Crops, crop, draw_crops, pad_images
from resnet_degradation.data.batches import Batch, BatchGenerator, shard
from resnet_degradation.data.dataset import Arrays
from resnet_degradation.data.decode import DecodeStats
from resnet_degradation.data.order import batch_indices
from resnet_degradation.data.test_views import (
    EvalProtocol,
    ViewedBatch,
    ViewedBatches,
    ViewsOfSize,
    five_crops,
    resized,
    with_mirrors,
)
from resnet_degradation.distributed.world import ALONE, World


class MemoryBatches:
    """Batches cut from uint8 images that stay on `device`; see section 4.2 for the recipe."""

    def __init__(
        self,
        train: Arrays,
        held_out: dict[str, Arrays],
        *,
        num_classes: int,
        batch_size: int,
        seed: int,
        pad: int,
        mirror: bool,
        mean: Tensor,
        std: Tensor | None = None,
        eval_batch_size: int,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        """mean: (C, H, W) or (C, 1, 1) of pixels in [0, 1], subtracted; std: divided by, if given.

        The other arguments are the configuration's.
        """
        self.num_train = len(train)
        self.splits = {name: len(images) for name, images in held_out.items()}
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.pad = pad
        self.mirror = mirror
        self.eval_batch_size = eval_batch_size
        self.device = device
        self.world = world
        self.decode_stats: DecodeStats | None = None
        self.image_size = train.images.shape[-1]
        self.mean = mean.to(device)
        self.std = None if std is None else std.to(device)
        self._labels = train.labels.to(device)
        # The border is the mean's, that is zero after the subtraction: so both are padded.
        self._padded = pad_images(train.images, pad).to(device)
        full_mean = self.mean.expand(train.images.shape[1:])[None]
        self._padded_mean = pad_images(full_mean * 255, pad)
        self._held_out = {
            name: Arrays(images.images.to(device), images.labels.to(device))
            for name, images in held_out.items()
        }

    def training(self, start: int, stop: int) -> BatchGenerator:
        """See `Batches.training`."""
        for iteration in range(start, stop):
            yield self.training_batch(iteration)

    def training_batch(self, iteration: int) -> Batch:
        """The augmented batch of one iteration; this process's part of it."""
        share = self.world.share(self.batch_size)
        indices = batch_indices(self.seed, iteration, self.batch_size, self.num_train)[share]
        crops = draw_crops(self.seed, iteration, self.batch_size, self.pad, self.mirror)
        indices = indices.to(self.device, non_blocking=True)
        crops = Crops(
            *(
                part[share].to(self.device, non_blocking=True)
                for part in (crops.top, crops.left, crops.mirrored)
            )
        )
        pixels = crop(self._padded, indices, crops, self.image_size)
        means = crop(self._padded_mean, torch.zeros_like(indices), crops, self.image_size)
        return shard((pixels - means) / 255, self.std), self._labels[indices]

    def held_out(self, split: str) -> BatchGenerator:
        """See `Batches.held_out`."""
        data = self._held_out[split]
        for images, labels in zip(
            data.images.split(self.eval_batch_size),
            data.labels.split(self.eval_batch_size),
            strict=True,
        ):
            share = self.world.share(len(labels))
            centred = shard(images[share] / 255 - self.mean, self.std)
            yield centred.contiguous(memory_format=torch.channels_last), labels[share]

    def viewed(self, split: str, protocol: EvalProtocol) -> ViewedBatches:
        """See `Batches.viewed`. Crops are cut out of the image with its border, as in training."""
        data, count = self._held_out[split], protocol.images_per_batch(self.eval_batch_size)
        for images, labels in zip(data.images.split(count), data.labels.split(count), strict=True):
            if protocol.name == "ten-crop":
                centred = shard(images / 255 - self.mean, self.std)
                bordered = F.pad(centred, (self.pad, self.pad, self.pad, self.pad))
                views = [five_crops(bordered, self.image_size)]
            else:
                views = [
                    shard(
                        resized(images / 255, side, side) - resized(self.mean, side, side), self.std
                    )[:, None]
                    for side in protocol.scales
                ]
            rows = torch.arange(len(labels), device=self.device)
            # As in training, the mean image is mirrored with the image.
            views = [with_mirrors(of_size, protocol.mirror) for of_size in views]
            yield ViewedBatch([ViewsOfSize(rows, of_size) for of_size in views], labels)
