"""Data: from a configuration to batches on the device."""

from pathlib import Path

import torch

from resnet_degradation.config import Config
from resnet_degradation.data.batches import Batch, Batches, MemoryBatches
from resnet_degradation.data.readable import only_readable
from resnet_degradation.data.sources import Arrays, Files, Images, Source, load_source
from resnet_degradation.data.stream import StreamBatches
from resnet_degradation.data.views import Report, decode, no_report
from resnet_degradation.distributed import ALONE, World
from resnet_degradation.errors import ConfigError

__all__ = ["Batch", "Batches", "find_images", "make_batches"]


def find_images(config: Config, report: Report = no_report) -> Source:
    """The images of a settled configuration, without unreadable files if it says to skip them.

    Raises DataError, saying what was looked for and where, if they are missing or unreadable.
    """
    source = load_source(config.data)
    if config.data.on_error == "raise":
        return source
    return only_readable(source, config.runtime.num_workers, _cache(config), report)


def make_batches(
    source: Source,
    config: Config,
    device: torch.device,
    world: World = ALONE,
    report: Report = no_report,
) -> Batches:
    """The batches of a source's images that a settled configuration asks for, on `device`.

    Of each batch, a process of a world gets its part. What takes long is reported.

    Raises DataError if an image is unreadable, ConfigError if it cannot be augmented as asked.
    """
    recipe = config.recipe
    mean_per_pixel = config.data.mean == "pixel"
    if recipe.augmentation == "scale-jitter":
        smallest, largest = recipe.scale or (0, 0)
        return StreamBatches(
            _files(source.train, config.data.name),
            {name: _files(images, config.data.name) for name, images in source.held_out.items()},
            num_classes=len(source.classes),
            batch_size=recipe.batch_size,
            seed=config.seed,
            image_size=config.data.image_size,
            scale=(smallest, largest),
            mirror=recipe.mirror,
            colour_std=recipe.colour_std,
            mean_per_pixel=mean_per_pixel,
            eval_batch_size=config.runtime.eval_batch_size,
            num_workers=config.runtime.num_workers,
            cache=_cache(config),
            device=device,
            world=world,
            report=report,
        )
    augmented = recipe.augmentation == "pad-crop"
    return MemoryBatches(
        _arrays(source.train, config, report),
        {name: _arrays(images, config, report) for name, images in source.held_out.items()},
        num_classes=len(source.classes),
        batch_size=recipe.batch_size,
        seed=config.seed,
        pad=recipe.pad if augmented else 0,
        mirror=recipe.mirror and augmented,
        mean_per_pixel=mean_per_pixel,
        eval_batch_size=config.runtime.eval_batch_size,
        device=device,
        world=world,
    )


def _cache(config: Config) -> Path:
    """Where what is known of images is kept for the runs that follow."""
    return Path(config.output_dir) / ".cache"


def _arrays(images: Images, config: Config, report: Report) -> Arrays:
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
