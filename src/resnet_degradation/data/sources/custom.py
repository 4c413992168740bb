"""Where images come from: the embedded digits, CIFAR, and folders of image files.

A source is either arrays, when every image has one small size, or paths, when they have not.
"""

import torch

from resnet_degradation.config.custom_code import load_custom
from resnet_degradation.config.schema import DataConfig
from resnet_degradation.data.dataset import Files, Images, Source
from resnet_degradation.system.errors import DataError


def load_custom_source(data: DataConfig) -> Source:
    """What a function of the user's own, named by data.loader, makes of the configuration.

    Raises DataError if it is no Source of images of the size that the configuration names.
    """
    source = load_custom(str(data.loader), "data.loader")(data)
    problem = None if isinstance(source, Source) else f"a {type(source).__name__}, not a Source"
    if isinstance(source, Source):
        problem = _problem(source, data)
    if problem is not None:
        raise DataError(f"data.loader={data.loader} gave {problem}")
    assert isinstance(source, Source)
    return source


def _problem(source: Source, data: DataConfig) -> str | None:
    """What keeps a source from being trained on and tested with."""
    if not source.held_out or not set(source.held_out) <= {"val", "test"}:
        given = ", ".join(map(str, source.held_out)) or "none"
        return f"the held-out splits {given}, where val, test or both are expected"
    problems = (_problem_of(images, data) for images in source.splits().values())
    if problem := next((problem for problem in problems if problem is not None), None):
        return problem
    for name, images in source.splits().items():
        least, most = int(images.labels.min()), int(images.labels.max())
        if least < 0 or most >= len(source.classes):
            return (
                f"labels from {least} to {most} for {name}, where 0 to {len(source.classes) - 1} "
                f"are expected: there are {len(source.classes)} classes"
            )
    return None


def _problem_of(images: Images, data: DataConfig) -> str | None:
    """What keeps images from being trained on, of those of one split."""
    if len(images) == 0:
        return "a split without images"
    if isinstance(images, Files):
        return None
    size = (len(images.labels), 3, data.image_size, data.image_size)
    if images.images.dtype != torch.uint8 or images.images.shape != size:
        return (
            f"images of {images.images.dtype} and shape {tuple(images.images.shape)}, not of "
            f"torch.uint8 and shape {size} (number of labels, 3, data.image_size twice)"
        )
    if images.labels.dtype != torch.int64:
        return f"labels of {images.labels.dtype}, not of torch.int64"
    return None
