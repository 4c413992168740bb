"""Loads a data set with a built-in or a custom reader."""

from collections.abc import Callable
from pathlib import Path

import torch

from resnet_degradation.config.custom_code import load_custom
from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Arrays, Source, split_validation
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.sources.torchvision_sets import load_cifar, load_imagenette
from resnet_degradation.system.errors import DataError


def load_source(data: DataConfig, prepare: Callable[[Source], Source] | None = None) -> Source:
    """Load the data set that a resolved configuration names.

    prepare: applied to the source before a validation set is split off.

    Raises DataError if images are missing or unreadable.
    """
    if data.loader is not None:
        source = _load_custom_source(data)
    elif data.name == "digits":
        source = load_digits(data.image_size)
    elif data.name in ("cifar10", "cifar100"):
        source = load_cifar(data)
    elif data.name == "imagenette":
        source = load_imagenette(data)
    else:
        source = scan_folder(Path(str(data.root)))
    if prepare is not None:
        source = prepare(source)
    return split_validation(source, data.validation_fraction)


def _load_custom_source(data: DataConfig) -> Source:
    """Call data.loader; raise DataError unless it returns a valid Source."""
    source = load_custom(str(data.loader), "data.loader")(data)
    problem = f"a {type(source).__name__}, not a Source"
    if isinstance(source, Source):
        problem = _find_problem(source, data)
        if not problem:
            return source
    raise DataError(f"data.loader={data.loader} returned {problem}")


def _find_problem(source: Source, data: DataConfig) -> str:
    if not source.held_out or not set(source.held_out) <= {"val", "test"}:
        given = ", ".join(map(str, source.held_out)) or "none"
        return f"the held-out splits {given}: expected val, test or both"
    for name, images in source.splits().items():
        if len(images) == 0:
            return f"no {name} images"
        size = (len(images), 3, data.image_size, data.image_size)
        if isinstance(images, Arrays) and (
            images.images.dtype != torch.uint8 or images.images.shape != size
        ):
            return (
                f"images of {images.images.dtype} and shape {tuple(images.images.shape)}: expected "
                f"torch.uint8 and shape {size} (N, 3, data.image_size, data.image_size)"
            )
        if isinstance(images, Arrays) and images.labels.dtype != torch.int64:
            return f"labels of {images.labels.dtype}: expected torch.int64"
        lowest, highest = int(images.labels.min()), int(images.labels.max())
        if lowest < 0 or highest >= len(source.classes):
            return (
                f"labels from {lowest} to {highest} for {name}: expected 0 to "
                f"{len(source.classes) - 1}, because there are {len(source.classes)} classes"
            )
    return ""
