"""Batches that worker processes decode from image files, for the ImageNet recipe (section 3.4).

Workers decode, resize and crop. The training device augments colours and normalizes. A training
view depends only on (seed, iteration, position in the batch), not on the number of workers.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches, BatchGenerator
from resnet_degradation.data.cache import cache_folder
from resnet_degradation.data.channel_statistics import channel_statistics
from resnet_degradation.data.dataset import Files, Images, Source
from resnet_degradation.data.decode import (
    DecodeStats,
    ViewRequest,
    decode_views,
    request_all_images,
)
from resnet_degradation.data.resizing import stack_channels_last
from resnet_degradation.data.views import (
    EvalProtocol,
    MultiViewBatch,
    MultiViewBatches,
    SameSizeViews,
    add_mirror_images,
    group_by_size,
    read_centre_view,
    read_jittered_view,
    read_views,
    resize_images,
)
from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.rng import generator


class StreamBatches(Batches):
    """Batches decoded from image files on demand."""

    def __init__(
        self,
        source: Source,
        config: Config,
        device: torch.device,
        world: World = SINGLE_PROCESS,
        progress: ReportProgress = ignore_progress,
    ) -> None:
        def require_files(images: Images) -> Files:
            if isinstance(images, Files):
                return images
            raise ConfigError(
                f"recipe.augmentation=scale-jitter needs image files, and data={config.data.name} "
                "has none: choose recipe.augmentation=pad-crop, or data=folder, data=imagenet or "
                "data=imagenette"
            )

        size, workers = config.data.image_size, config.runtime.num_workers
        smallest, largest = config.recipe.scale or (0, 0)
        self._train = require_files(source.train)
        self._held_out = {name: require_files(images) for name, images in source.held_out.items()}
        self._colour_axes = mean_image = None
        if isinstance(config.data.mean, str) or config.recipe.colour_std > 0:
            cache = cache_folder(config)
            mean_image, self._colour_axes = world.broadcast(
                lambda: channel_statistics(self._train, size, smallest, workers, cache, progress)
            )
        super().__init__(source, config, mean_image, device, world)
        self.decode_stats = DecodeStats()
        self._training_view = partial(
            read_jittered_view,
            seed=config.seed,
            image_size=size,
            scale=(smallest, largest),
            mirror=config.recipe.mirror,
            resize=config.recipe.resize,
        )
        # Centre views use the smallest scale of training.
        self._centre_view = partial(read_centre_view, image_size=size, shorter_side=smallest)
        self._decode = partial(decode_views, num_workers=workers, device=device)

    def training(self, start: int, stop: int) -> BatchGenerator:
        size = self.config.recipe.batch_size
        positions = range(size)[self.world.local_slice(size)]
        requests: Iterator[list[ViewRequest]] = (
            [(i, k, j) for i, j in zip(self._select_indices(k).tolist(), positions, strict=True)]
            for k in range(start, stop)
        )
        batches = self._decode(
            *(self._train, self._training_view, requests),
            stats=self.decode_stats,
            collate=stack_channels_last,
        )
        for iteration, pixels in zip(range(start, stop), batches, strict=True):
            # In place: allocating memory for every result would take twice as long on a CPU.
            images = self._scale_on_device(pixels).sub_(self.mean)
            if self._colour_axes is not None:
                images.add_(self._colour_shift(iteration, self._colour_axes))
            images.div_(self.std)
            labels = self._train.labels[self._select_indices(iteration)]
            yield images, self._move_to_device(labels)

    def held_out(self, split: str) -> BatchGenerator:
        files, size = self._held_out[split], self.config.runtime.eval_batch_size
        batches = request_all_images(len(files), size)
        # A process whose share of a batch is empty decodes one image and drops it.
        requests = [batch[self.world.local_slice(len(batch))] or batch[:1] for batch in batches]
        views = self._decode(files, self._centre_view, requests, collate=stack_channels_last)
        for pixels, labels in zip(views, files.labels.split(size), strict=True):
            share = labels[self.world.local_slice(len(labels))].to(self.device)
            yield self._scale_on_device(pixels[: len(share)]).sub_(self.mean).div_(self.std), share

    def multi_view(self, split: str, protocol: EvalProtocol) -> MultiViewBatches:
        files = self._held_out[split]
        count = protocol.images_per_batch(self.config.runtime.eval_batch_size)
        view = partial(read_views, protocol=protocol)
        batches = self._decode(
            files, view, request_all_images(len(files), count), collate=group_by_size
        )
        for groups, labels in zip(batches, files.labels.split(count), strict=True):
            normalized = []
            for rows, pixels in groups:
                views = self._scale_on_device(torch.from_numpy(pixels))
                if protocol.name == "multi-scale" and protocol.mirror:
                    # As in training, the mean image is not mirrored.
                    views = add_mirror_images(views)
                views = views - resize_images(self.mean, *pixels.shape[-2:])
                positions = torch.tensor(rows, device=self.device)
                normalized.append(SameSizeViews(positions, views / self.std))
            yield MultiViewBatch(normalized, labels.to(self.device))

    def _scale_on_device(self, pixels: Tensor) -> Tensor:
        return self._move_to_device(pixels) / 255

    def _colour_shift(self, iteration: int, axes: Tensor) -> Tensor:
        """Return the colours to add to all pixels of each image, of shape (B, 3, 1, 1)."""
        recipe = self.config.recipe
        rng = generator("colours", self.config.seed, iteration)
        alpha = torch.randn(recipe.batch_size, 3, generator=rng) * recipe.colour_std
        shift = alpha[self.world.local_slice(recipe.batch_size)] @ axes.T
        return self._move_to_device(shift[:, :, None, None])
