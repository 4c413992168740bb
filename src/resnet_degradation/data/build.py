"""Data: from a configuration to batches on the device."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches, mean_image
from resnet_degradation.data.channel_statistics import ChannelStatistics, channel_statistics
from resnet_degradation.data.dataset import Arrays, Files, Images, Source
from resnet_degradation.data.decode import decode
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.data.orientation import warn_if_turned
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.data.streaming import StreamBatches
from resnet_degradation.data.unreadable import only_readable
from resnet_degradation.distributed.world import ALONE, World
from resnet_degradation.system.errors import ConfigError


def find_images(config: Config, report: ReportProgress = ignore_progress) -> Source:
    """The images of a settled configuration, without unreadable files if it says to skip them.

    Raises DataError, saying what was looked for and where, if they are missing or unreadable.
    """
    prepare = None
    if config.data.on_error == "skip":
        workers, cache = config.runtime.num_workers, _cache(config)
        prepare = partial(only_readable, num_workers=workers, cache=cache, report=report)
    source = load_source(config.data, prepare)
    warn_if_turned(source.train)
    return source


def make_batches(
    source: Source,
    config: Config,
    device: torch.device,
    world: World = ALONE,
    report: ReportProgress = ignore_progress,
) -> Batches:
    """The batches of a source's images that a settled configuration asks for, on `device`.

    Of each batch, a process of a world gets its part. What takes long is reported.

    Raises DataError if an image is unreadable, ConfigError if it cannot be augmented as asked.
    """
    if config.recipe.augmentation == "scale-jitter":
        return _streamed(source, config, device, world, report)
    return _in_memory(source, config, device, world, report)


def _streamed(
    source: Source, config: Config, device: torch.device, world: World, report: ReportProgress
) -> StreamBatches:
    data, recipe, runtime = config.data, config.recipe, config.runtime
    train = _files(source.train, data.name)
    smallest, largest = recipe.scale or (0, 0)

    def statistics() -> ChannelStatistics:
        return channel_statistics(
            train, data.image_size, smallest, runtime.num_workers, _cache(config), report
        )

    known = None
    if isinstance(data.mean, str) or recipe.colour_std > 0:
        known = world.broadcast(statistics)
    return StreamBatches(
        train,
        {name: _files(images, data.name) for name, images in source.held_out.items()},
        num_classes=len(source.classes),
        batch_size=recipe.batch_size,
        seed=config.seed,
        image_size=data.image_size,
        scale=(smallest, largest),
        mirror=recipe.mirror,
        mean=_mean(data, None if known is None else known.mean),
        std=_of_channels(data.std),
        colours=None if known is None else known.axes(),
        colour_std=recipe.colour_std,
        eval_batch_size=runtime.eval_batch_size,
        num_workers=runtime.num_workers,
        device=device,
        world=world,
    )


def _in_memory(
    source: Source, config: Config, device: torch.device, world: World, report: ReportProgress
) -> MemoryBatches:
    data, recipe = config.data, config.recipe
    augmented = recipe.augmentation == "pad-crop"
    train = _arrays(source.train, config, report)
    return MemoryBatches(
        train,
        {name: _arrays(images, config, report) for name, images in source.held_out.items()},
        num_classes=len(source.classes),
        batch_size=recipe.batch_size,
        seed=config.seed,
        pad=recipe.pad if augmented else 0,
        mirror=recipe.mirror and augmented,
        mean=_mean(data, mean_image(train.images) if isinstance(data.mean, str) else None),
        std=_of_channels(data.std),
        eval_batch_size=config.runtime.eval_batch_size,
        device=device,
        world=world,
    )


def _mean(data: DataConfig, of_training_images: Tensor | None) -> Tensor:
    """What is subtracted: the mean of the training images (C, H, W) or of their channels, or
    what the configuration gives (C, 1, 1)."""
    if of_training_images is None:
        return torch.tensor(data.mean)[:, None, None]
    if data.mean == "channel":
        of_training_images = of_training_images.mean(dim=(1, 2), keepdim=True)
    return of_training_images.float()


def _of_channels(values: list[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values)[:, None, None]


def _cache(config: Config) -> Path:
    """Where what is known of images is kept for the runs that follow."""
    return Path(config.output_dir) / ".cache"


def _arrays(images: Images, config: Config, report: ReportProgress) -> Arrays:
    if isinstance(images, Arrays):
        return images
    return decode(images, config.data.image_size, config.runtime.num_workers, report)


def _files(images: Images, name: str) -> Files:
    if isinstance(images, Arrays):
        raise ConfigError(
            f"recipe.augmentation=scale-jitter needs image files, and data={name} has none: "
            "choose recipe.augmentation=pad-crop, or data=folder, imagenet or imagenette"
        )
    return images
