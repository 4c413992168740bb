"""Worker processes that decode batches of views from image files."""

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from resnet_degradation.console.progress import ReportProgress, ignore_progress
from resnet_degradation.data.dataset import Arrays, Files
from resnet_degradation.data.views import read_centre_view
from resnet_degradation.system.errors import DataError, describe_os_error
from resnet_degradation.system.os_signals import block_signals, ignore_signals, unblock_signals

ViewRequest = tuple[int, int, int]  # (file index, iteration, position in the batch)
ViewFunction = Callable[[str, int, int], Any]  # (path, iteration, position in the batch) -> view

CPU = torch.device("cpu")

# Niceness of worker processes that share CPU cores with the training.
NICENESS = 10

# Batch size of `decode_all`.
BATCH_SIZE = 64

# With fewer images, starting worker processes does not pay off.
MIN_IMAGES_FOR_WORKERS = 2001

# Keeps the errors alive: each references a half-built DataLoader iterator, whose destructor would
# print a traceback.
_start_errors: list[OSError] = []


@dataclass
class DecodeStats:
    """How fast images are decoded, and how long the training waits for them."""

    num_images: int = 0
    decode_seconds: float = 0.0  # CPU time, summed over processes
    wait_seconds: float = 0.0

    def since(self, earlier: "DecodeStats") -> "DecodeStats":
        """Return the increase since `earlier`."""
        return DecodeStats(
            self.num_images - earlier.num_images,
            self.decode_seconds - earlier.decode_seconds,
            self.wait_seconds - earlier.wait_seconds,
        )

    def images_per_second(self) -> float:
        """Return the decoding speed of a process that has a core to itself."""
        return self.num_images / self.decode_seconds if self.decode_seconds > 0 else float("inf")


class _Decoded(NamedTuple):
    batch: Any
    num_images: int
    cpu_seconds: float


class _DecodedBatches(Dataset[_Decoded | DataError]):
    def __init__(
        self, files: Files, view: ViewFunction, collate: Callable[[list[Any]], Any]
    ) -> None:
        self.files, self.view, self.collate = files, view, collate

    def __getitem__(self, requests: list[ViewRequest]) -> _Decoded | DataError:
        start = time.thread_time()
        try:
            views = [self.view(self.files.paths[i], *request) for i, *request in requests]
        except DataError as error:
            return error  # raising it would wrap it in the worker's traceback
        seconds = time.thread_time() - start
        batch = self.collate(views)
        if get_worker_info() is not None and isinstance(batch, Tensor):
            try:
                batch.share_memory_()
            except RuntimeError:  # /dev/shm is full: 64 MB is Docker's default
                batch = batch.numpy()  # arrays are sent through a pipe instead
        return _Decoded(batch, len(views), seconds)


def _return_unchanged(batch: Any) -> Any:
    return batch


def _init_worker(niceness: int, _number: int) -> None:
    # A signal may reach all processes at once, but the training needs its workers until it stops.
    ignore_signals()
    unblock_signals()
    with suppress(AttributeError, OSError):  # some systems have no niceness
        os.nice(niceness)


def decode_views(
    files: Files,
    view: ViewFunction,
    requests: Iterable[list[ViewRequest]],
    num_workers: int,
    device: torch.device = CPU,
    stats: DecodeStats | None = None,
    collate: Callable[[list[Any]], Any] = torch.stack,
) -> Generator[Any, None, None]:
    """Decode the requested views; for each list of requests, yield one batch made by `collate`.

    device: where the views will be used. For a GPU, batches are in pinned memory; for a CPU,
    workers run at a lower priority than the training. stats: updated with every batch.

    Raises DataError if an image cannot be read, or if the system kills a worker process.
    """
    loader = DataLoader(
        _DecodedBatches(files, view, collate),
        batch_size=None,
        sampler=requests,
        num_workers=num_workers,
        collate_fn=_return_unchanged,
        pin_memory=device.type == "cuda",
        worker_init_fn=partial(_init_worker, NICENESS if device.type == "cpu" else 0),
    )
    stats = DecodeStats() if stats is None else stats
    try:
        with block_signals():  # while the workers start
            batches = iter(loader)
    except OSError as error:
        _start_errors.append(error)
        raise DataError(
            f"cannot start the processes that decode images ({describe_os_error(error)}): set "
            "runtime.num_workers=0, or enlarge /dev/shm if it is full (docker run --shm-size=2g)"
        ) from error
    try:
        while True:
            start = time.perf_counter()
            decoded = next(batches, None)
            stats.wait_seconds += time.perf_counter() - start
            if decoded is None:
                return
            if isinstance(decoded, DataError):
                raise decoded
            stats.num_images += decoded.num_images
            stats.decode_seconds += decoded.cpu_seconds
            batch = decoded.batch
            yield _tensor_from_pipe(batch) if isinstance(batch, np.ndarray) else batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DataError(
            f"the system killed a process that decodes images ({str(error).splitlines()[0]}): if "
            "memory ran out, lower runtime.num_workers; then repeat the command"
        ) from error
    finally:
        del batches  # ends the workers


def _tensor_from_pipe(pixels: "np.ndarray[Any, Any]") -> Tensor:
    warnings.warn(
        "/dev/shm is too small for the images that worker processes decode, so they are sent "
        "through slower pipes: enlarge it (docker run --shm-size=2g), or set runtime.num_workers=0",
        stacklevel=1,
    )
    return torch.from_numpy(pixels)


def request_all_images(num_images: int, batch_size: int) -> list[list[ViewRequest]]:
    """Return batches of requests that cover every image once, in order."""
    batches = torch.arange(num_images).split(batch_size)
    return [[(index, 0, 0) for index in batch.tolist()] for batch in batches]


def decode_all(
    files: Files,
    view: ViewFunction,
    num_workers: int,
    task: str,
    progress: ReportProgress = ignore_progress,
) -> Generator[Tensor, None, None]:
    """Yield batches with one view of every file, in order.

    task: the name of this work in progress reports.
    """
    num_workers = num_workers if len(files) >= MIN_IMAGES_FOR_WORKERS else 0
    num_decoded = 0
    for views in decode_views(files, view, request_all_images(len(files), BATCH_SIZE), num_workers):
        yield views
        num_decoded += len(views)
        progress(task, num_decoded, len(files))


def load_arrays(
    files: Files, image_size: int, num_workers: int, progress: ReportProgress = ignore_progress
) -> Arrays:
    """Decode all files into memory.

    Each image is resized to a shorter side of `image_size`, then centre-cropped to a square.
    """
    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    view = partial(read_centre_view, image_size=image_size, shorter_side=image_size)
    views = decode_all(files, view, num_workers, "decoding images", progress)
    for target, batch in zip(images.split(BATCH_SIZE), views, strict=True):
        target.copy_(batch)
    return Arrays(images, files.labels)
