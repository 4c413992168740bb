"""Choosing the reader of a data set."""

from collections.abc import Callable
from pathlib import Path

from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Source, split_validation
from resnet_degradation.data.sources.custom import load_custom_source
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.sources.torchvision_sets import load_cifar, load_imagenette


def load_source(data: DataConfig, prepare: Callable[[Source], Source] | None = None) -> Source:
    """The images that a resolved configuration names.

    prepare: changes the source before a validation set is split off.

    Raises DataError, naming what was looked for and where, if they are missing or unreadable.
    """
    if data.loader is not None:
        source = load_custom_source(data)
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
