"""Where images come from: the embedded digits, CIFAR, and folders of image files.

A source is either arrays, when every image has one small size, or paths, when they have not.
"""

from collections.abc import Callable
from pathlib import Path

from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Source, split_validation
from resnet_degradation.data.sources.custom import load_custom_source
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.data.sources.folder import scan_folder
from resnet_degradation.data.sources.torchvision_sets import load_cifar, load_imagenette


def load_source(data: DataConfig, prepare: Callable[[Source], Source] | None = None) -> Source:
    """The images that a settled configuration names.

    prepare: is done with all of them before a validation set is split off.

    Raises DataError, saying what was looked for and where, if they are missing or unreadable.
    """
    if data.loader is not None:
        source = load_custom_source(data)
    elif data.name == "digits":
        source = load_digits(data.image_size)
    elif data.name in ("cifar10", "cifar100"):
        source = load_cifar(data)
    else:
        root = Path(str(data.root))
        source = load_imagenette(data) if data.name == "imagenette" else scan_folder(root)
    if prepare is not None:
        source = prepare(source)
    return split_validation(source, data.validation_fraction)
