"""Views of image files: decoded, resized and cropped, by worker processes."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resnet_degradation.data.sources import Arrays, Files
from resnet_degradation.errors import DataError
from resnet_degradation.seeding import generator
from resnet_degradation.signals import outlive_signals

ViewRequest = tuple[int, int, int]  # index of the file, iteration, position in the batch


def read_image(path: str) -> Image.Image:
    """The decoded RGB image; raises DataError with its path if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # PIL raises errors of many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read the image {path} ({reason}): mend, replace or remove it"
        ) from error


@dataclass(frozen=True)
class JitteredView:
    """Section 4.1: shorter side sampled in `scale`, a random crop of it, or of its mirror image."""

    seed: int
    image_size: int
    scale: tuple[int, int]
    mirror: bool

    def __call__(self, path: str, iteration: int, position: int) -> Tensor:
        """One view (3, image_size, image_size) uint8 of the image."""
        from torchvision.transforms.v2 import functional as transforms

        rng = generator("view", self.seed, iteration, position)

        def draw(below: int) -> int:
            return int(torch.randint(below, (1,), generator=rng))

        shorter_side = self.scale[0] + draw(self.scale[1] - self.scale[0] + 1)
        image = transforms.resize(read_image(path), [shorter_side], antialias=True)
        width, height = image.size
        top, left = draw(height - self.image_size + 1), draw(width - self.image_size + 1)
        image = transforms.crop(image, top, left, self.image_size, self.image_size)
        if draw(2) == 1 and self.mirror:
            image = transforms.horizontal_flip(image)
        view: Tensor = transforms.pil_to_tensor(image)
        return view


@dataclass(frozen=True)
class CentreView:
    """The single view of testing: shorter side brought to `shorter_side`, centre cut out."""

    image_size: int
    shorter_side: int

    def __call__(self, path: str, _iteration: int, _position: int) -> Tensor:
        """One view (3, image_size, image_size) uint8 of the image."""
        from torchvision.transforms.v2 import functional as transforms

        image = read_image(path)
        if image.size != (self.image_size, self.image_size) or self.shorter_side != self.image_size:
            image = transforms.resize(image, [self.shorter_side], antialias=True)
            image = transforms.center_crop(image, [self.image_size, self.image_size])
        view: Tensor = transforms.pil_to_tensor(image)
        return view


View = Callable[[str, int, int], Tensor]


class _Views(Dataset[Tensor | DataError]):
    def __init__(self, files: Files, view: View) -> None:
        self.files, self.view = files, view

    def __getitem__(self, request: ViewRequest) -> Tensor | DataError:
        index, iteration, position = request
        try:
            return self.view(self.files.paths[index], iteration, position)
        except DataError as error:
            return error  # raised in a worker, it would arrive wrapped in the worker's traceback


def _collate(views: list[Tensor | DataError]) -> Tensor | DataError:
    for view in views:
        if isinstance(view, DataError):
            return view
    return torch.stack([view for view in views if isinstance(view, Tensor)])


def _begin_worker(_number: int) -> None:
    # A signal may reach all processes at once, and the loop still needs its workers then.
    outlive_signals()


def decoded(
    files: Files,
    view: View,
    requests: Iterable[list[ViewRequest]],
    num_workers: int,
    pin: bool = False,
) -> Generator[Tensor, None, None]:
    """The views (B, 3, H, W) uint8 that each of `requests` asks for, in order.

    Raises DataError if an image cannot be read, or if the system ends a worker process.
    """
    loader = DataLoader(
        _Views(files, view),
        batch_sampler=requests,
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pin,
        worker_init_fn=_begin_worker,
    )
    batches = iter(loader)
    try:
        for views in batches:
            if isinstance(views, DataError):
                raise views
            yield views
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DataError(
            f"the system ended a process that decodes images ({str(error).splitlines()[0]}). "
            "If memory ran out, set runtime.num_workers lower; repeat the command"
        ) from error
    finally:
        del batches  # and with it the workers


def one_view_each(num_images: int, batch_size: int) -> list[list[ViewRequest]]:
    """Requests for every image once, in order, in batches."""
    return [
        [(index, 0, 0) for index in range(first, min(first + batch_size, num_images))]
        for first in range(0, num_images, batch_size)
    ]


def decode(files: Files, image_size: int, num_workers: int) -> Arrays:
    """All files in memory: shorter side brought to `image_size`, centre square kept."""
    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    # A few images need no worker processes.
    num_workers = num_workers if len(files) > 2000 else 0
    first = 0
    view = CentreView(image_size, image_size)
    for views in decoded(files, view, one_view_each(len(files), 500), num_workers):
        images[first : first + len(views)] = views
        first += len(views)
    return Arrays(images, files.labels)
