"""Loads the images that a configuration names, and makes batches from them."""

from functools import partial

import torch

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.dataset import Source
from resnet_degradation.data.file_checks import skip_unreadable, warn_if_rotated
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.data.streaming import StreamBatches
from resnet_degradation.distributed.world import SINGLE_PROCESS, World


def find_images(config: Config, progress: ReportProgress = ignore_progress) -> Source:
    """Load the data set of a resolved configuration; leave out unreadable files if on_error=skip.

    Raises DataError if images are missing or unreadable.
    """
    prepare = partial(skip_unreadable, config=config, progress=progress)
    source = load_source(config.data, prepare if config.data.on_error == "skip" else None)
    warn_if_rotated(source.train)
    return source


def make_batches(
    source: Source,
    config: Config,
    device: torch.device,
    world: World = SINGLE_PROCESS,
    progress: ReportProgress = ignore_progress,
) -> Batches:
    """Make the batches that a resolved configuration describes, on `device`.

    Raises DataError if an image is unreadable, ConfigError if the recipe cannot use the images.
    """
    if config.recipe.augmentation == "scale-jitter":
        return StreamBatches(source, config, device, world, progress)
    return MemoryBatches(source, config, device, world, progress)
