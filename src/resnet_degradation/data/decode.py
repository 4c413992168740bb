"""Views of image files: decoded, resized and cropped, by worker processes."""

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader, Dataset

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.dataset import Arrays, Files
from resnet_degradation.system.errors import DataError, describe_os_error
from resnet_degradation.system.os_signals import block_signals, ignore_signals, unblock_signals
from resnet_degradation.system.rng import generator

ViewRequest = tuple[int, int, int]  # index of the file, iteration, position in the batch

# How many times its height an image may be wide, or the other way round. More would be enlarged
# to an absurd size by bringing the shorter side to that of a crop.
MOST_ELONGATED = 50

# How much worker processes stand back where they share their cores with the training.
NICENESS = 10

# DataLoader's half-built iterator, which such an error refers to, prints a traceback when it is
# freed, unless that is at the end of the process.
_failed_starts: list[OSError] = []


def read_image(path: str) -> Image.Image:
    """The decoded RGB image; raises DataError with its path if it cannot be read.

    Greyscale, palette and CMYK become RGB, transparency is dropped, 16 bits a channel become 8.
    """
    try:
        with warnings.catch_warnings():
            # Of large images (it refuses those of twice that size), transparency, and metadata.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                rgb = _to_rgb(image)
    except Exception as error:  # PIL raises errors of many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read the image {path} ({reason}): fix, replace or remove it, or skip what "
            "cannot be read with data.on_error=skip"
        ) from error
    return rgb


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise ValueError(f"its size of {width}x{height} is too elongated")
    if image.mode.startswith("I;16"):  # convert() would cut off all that is brighter than 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are no bytes: save it with 8 bits a channel")
    return image.convert("RGB")


@dataclass(frozen=True)
class JitteredView:
    """Section 3.4: shorter side sampled in `scale`, a random crop of it, or of its mirror image."""

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


V = TypeVar("V")  # what is made of one image
B = TypeVar("B")  # and of the images of a batch
View = Callable[[str, int, int], V]


@dataclass
class DecodeStats:
    """How fast images are decoded, and how long who needs them waits for them."""

    num_images: int = 0
    decoding: float = 0.0  # seconds of CPU time, in whichever process
    waiting: float = 0.0  # seconds

    def since(self, before: "DecodeStats") -> "DecodeStats":
        """What was added to an earlier state."""
        return DecodeStats(
            self.num_images - before.num_images,
            self.decoding - before.decoding,
            self.waiting - before.waiting,
        )

    def images_per_second(self) -> float:
        """What one process decodes, while nothing keeps it from it."""
        return self.num_images / self.decoding if self.decoding > 0 else float("inf")


class _Decoded(NamedTuple):
    views: Any  # of one image, or of those of a batch
    num_images: int
    seconds: float  # of CPU time


class _Views(Dataset[_Decoded | DataError]):
    def __init__(self, files: Files, view: View[Any]) -> None:
        self.files, self.view = files, view

    def __getitem__(self, request: ViewRequest) -> _Decoded | DataError:
        index, iteration, position = request
        began = time.thread_time()
        try:
            view = self.view(self.files.paths[index], iteration, position)
        except DataError as error:
            return error  # raised in a worker, it would arrive wrapped in the worker's traceback
        return _Decoded(view, 1, time.thread_time() - began)


def _collate(
    join: Callable[[list[Any]], Any], images: list[_Decoded | DataError]
) -> _Decoded | DataError:
    whole = []
    for image in images:
        if isinstance(image, DataError):
            return image
        whole.append(image)
    views = join([image.views for image in whole])
    return _Decoded(views, len(whole), sum(image.seconds for image in whole))


def _send(tensor: Tensor) -> tuple[Any, ...]:
    """How a worker process sends a tensor: in shared memory, or where that is full, in a pipe.

    Docker gives a container 64 MB of shared memory by default. DataLoader fails there, in a thread
    of the worker whose error reaches nobody.
    """
    try:
        tensor.share_memory_()
    except RuntimeError:
        return _from_pipe, (tensor.numpy(),)
    shared: tuple[Any, ...] = reduce_tensor(tensor)
    return shared


def _from_pipe(pixels: "np.ndarray[Any, Any]") -> Tensor:
    """A tensor that a worker process sent through a pipe; the first one causes a warning."""
    warnings.warn(
        "/dev/shm is too small for the images that worker processes decode: they come through "
        "pipes, which is slower. Enlarge it (docker run --shm-size=2g), or decode without such "
        "processes (runtime.num_workers=0)",
        stacklevel=1,
    )
    return torch.from_numpy(pixels)


def _init_worker(niceness: int, _number: int) -> None:
    # A signal may reach all processes at once, and the loop still needs its workers then.
    ignore_signals()
    unblock_signals()
    ForkingPickler.register(Tensor, _send)
    with suppress(AttributeError, OSError):  # a system without it
        os.nice(niceness)


def decoded(
    files: Files,
    view: View[V],
    requests: Iterable[list[ViewRequest]],
    num_workers: int,
    device: torch.device | None = None,
    supply: DecodeStats | None = None,
    *,
    join: Callable[[list[V]], B],
) -> Generator[B, None, None]:
    """What `join` makes of the views of images that each of `requests` asks for, in order.

    device: where they are used. A GPU gets them from pinned memory; on a CPU, workers stand back
    behind what they decode for, which would otherwise wait for its cores.
    supply: is added to.

    Raises DataError if an image cannot be read, or if the system ends a worker process.
    """
    on = "cpu" if device is None else device.type
    loader = DataLoader(
        _Views(files, view),
        batch_sampler=requests,
        num_workers=num_workers,
        collate_fn=partial(_collate, join),
        pin_memory=on == "cuda",
        worker_init_fn=partial(_init_worker, NICENESS if on == "cpu" else 0),
    )
    supply = supply if supply is not None else DecodeStats()
    try:
        with block_signals():  # until the workers have started
            batches = iter(loader)
    except OSError as error:
        _failed_starts.append(error)
        raise DataError(
            f"cannot start the processes that decode images ({describe_os_error(error)}): decode "
            "without them (runtime.num_workers=0), or enlarge /dev/shm if it is full "
            "(docker run --shm-size=2g)"
        ) from error
    try:
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            supply.waiting += time.perf_counter() - began
            if batch is None:
                return
            if isinstance(batch, DataError):
                raise batch
            supply.num_images += batch.num_images
            supply.decoding += batch.seconds
            yield batch.views
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


def every_view(
    files: Files,
    view: View[Tensor],
    batch_size: int,
    num_workers: int,
    what: str,
    report: ReportProgress = ignore_progress,
) -> Generator[Tensor, None, None]:
    """One view of every file, in order, stacked in batches; tells how far it is."""
    done = 0
    # A few images need no worker processes.
    num_workers = num_workers if len(files) > 2000 else 0
    requests = one_view_each(len(files), batch_size)
    for views in decoded(files, view, requests, num_workers, join=torch.stack):
        yield views
        done += len(views)
        report(what, done, len(files))


def decode(
    files: Files, image_size: int, num_workers: int, report: ReportProgress = ignore_progress
) -> Arrays:
    """All files in memory: shorter side brought to `image_size`, centre square kept."""
    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    first = 0
    view = CentreView(image_size, image_size)
    for views in every_view(files, view, 500, num_workers, "decoding images", report):
        images[first : first + len(views)] = views
        first += len(views)
    return Arrays(images, files.labels)
