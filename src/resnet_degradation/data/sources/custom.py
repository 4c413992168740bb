"""Data sets that a custom function loads."""

import torch

from resnet_degradation.config.custom_code import load_custom
from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.system.errors import DataError


def load_custom_source(data: DataConfig) -> Source:
    """The source that the function named by data.loader returns for the configuration.

    Raises DataError if it is not a Source of images of the configured size.
    """
    source = load_custom(str(data.loader), "data.loader")(data)
    if not isinstance(source, Source):
        problem: str | None = f"a {type(source).__name__}, not a Source"
    else:
        problem = _find_problem(source, data)
    if problem is not None:
        raise DataError(f"data.loader={data.loader} returned {problem}")
    assert isinstance(source, Source)
    return source


def _find_problem(source: Source, data: DataConfig) -> str | None:
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
                f"torch.uint8 and shape {size} (number of labels, 3, data.image_size twice)"
            )
        if isinstance(images, Arrays) and images.labels.dtype != torch.int64:
            return f"labels of {images.labels.dtype}: expected torch.int64"
        lowest, highest = int(images.labels.min()), int(images.labels.max())
        if lowest < 0 or highest >= len(source.classes):
            return (
                f"labels from {lowest} to {highest} for {name}: expected 0 to "
                f"{len(source.classes) - 1}, as there are {len(source.classes)} classes"
            )
    return None
