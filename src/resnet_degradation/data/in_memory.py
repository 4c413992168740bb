"""Batches of small images that stay in the training device's memory."""

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batch, Batches, BatchGenerator
from resnet_degradation.data.dataset import Arrays, Images, Source
from resnet_degradation.data.decode import load_arrays
from resnet_degradation.data.sampling import Crops, crop_images, draw_crops, pad_images
from resnet_degradation.data.views import (
    EvalProtocol,
    MultiViewBatch,
    MultiViewBatches,
    SameSizeViews,
    add_mirror_images,
    resize_images,
)
from resnet_degradation.distributed.world import SINGLE_PROCESS, World


def compute_mean_image(images: Tensor) -> Tensor:
    """Return the mean of uint8 images (N, C, H, W), float64 of shape (C, H, W) in [0, 1].

    The sums are integers, so the mean does not depend on the order of the images.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.int64)
    for part in images.split(4096):
        total += part.sum(dim=0, dtype=torch.int64).cpu()
    return total.double() / (255 * len(images))


class MemoryBatches(Batches):
    """Batches of uint8 images on the device, padded and cropped as in section 4.2 of the paper."""

    def __init__(
        self,
        source: Source,
        config: Config,
        device: torch.device,
        world: World = SINGLE_PROCESS,
        progress: ReportProgress = ignore_progress,
    ) -> None:
        def load(images: Images) -> Arrays:
            if isinstance(images, Arrays):
                return images
            return load_arrays(images, config.data.image_size, config.runtime.num_workers, progress)

        train = load(source.train)
        mean_image = (
            compute_mean_image(train.images) if config.data.mean in ("pixel", "channel") else None
        )
        super().__init__(source, config, mean_image, device, world)
        augmented = config.recipe.augmentation == "pad-crop"
        self._pad = config.recipe.pad if augmented else 0
        self._mirror = config.recipe.mirror and augmented
        self._image_size = train.images.shape[-1]
        self._labels = train.labels.to(device)
        # Padding must be zero after mean subtraction, so images and mean are both padded.
        self._padded = pad_images(train.images, self._pad).to(device)
        full_mean = self.mean.expand(train.images.shape[1:])[None]
        self._padded_mean = pad_images(full_mean * 255, self._pad)
        self._held_out = {
            name: Arrays(arrays.images.to(device), arrays.labels.to(device))
            for name, arrays in ((name, load(images)) for name, images in source.held_out.items())
        }

    def training(self, start: int, stop: int) -> BatchGenerator:
        for iteration in range(start, stop):
            yield self.assemble_batch(self._move_to_device(self.draw_choices(iteration)))

    def draw_choices(self, iteration: int) -> Tensor:
        """Draw the random choices for this process's share of a batch, on the CPU.

        Returns an int64 tensor of shape (4, B). The rows are the image's index, its crop's top and
        left, and whether it is mirrored.
        """
        size = self.config.recipe.batch_size
        crops = draw_crops(self.config.seed, iteration, size, self._pad, self._mirror)
        share = self.world.local_slice(size)
        return torch.stack([self._select_indices(iteration), *(part[share] for part in crops)])

    def assemble_batch(self, choices: Tensor) -> Batch:
        """Make a batch from `choices` on the device, without waiting for the device."""
        indices, top, left, mirrored = choices.unbind()
        crops = Crops(top, left, mirrored.bool())
        pixels = crop_images(self._padded, indices, crops, self._image_size)
        zeros = torch.zeros_like(indices)
        means = crop_images(self._padded_mean, zeros, crops, self._image_size)
        return (pixels - means) / 255 / self.std, self._labels[indices]

    def held_out(self, split: str) -> BatchGenerator:
        data, size = self._held_out[split], self.config.runtime.eval_batch_size
        for images, labels in zip(data.images.split(size), data.labels.split(size), strict=True):
            share = self.world.local_slice(len(labels))
            centred = (images[share] / 255 - self.mean) / self.std
            yield centred.contiguous(memory_format=torch.channels_last), labels[share]

    def multi_view(self, split: str, protocol: EvalProtocol) -> MultiViewBatches:
        from torchvision.transforms.v2.functional import five_crop

        data = self._held_out[split]
        count = protocol.images_per_batch(self.config.runtime.eval_batch_size)
        for images, labels in zip(data.images.split(count), data.labels.split(count), strict=True):
            pixels = images / 255
            if protocol.name == "ten-crop":
                # As in training, crops may reach into the padding.
                padded = F.pad((pixels - self.mean) / self.std, (self._pad,) * 4)
                views = [torch.stack(five_crop(padded, [self._image_size] * 2), dim=1)]
            else:
                sizes = [(side, side) for side in protocol.scales]
                centred = [resize_images(pixels, *s) - resize_images(self.mean, *s) for s in sizes]
                views = [view[:, None] / self.std for view in centred]
            rows = torch.arange(len(labels), device=self.device)
            # As in training, the mean image is mirrored with the image.
            views = [add_mirror_images(group) for group in views] if protocol.mirror else views
            yield MultiViewBatch([SameSizeViews(rows, group) for group in views], labels)
