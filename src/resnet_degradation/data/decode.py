"""Worker processes that decode views of image files, in batches."""

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
from resnet_degradation.data.views import centre_view
from resnet_degradation.system.errors import DataError, describe_os_error
from resnet_degradation.system.os_signals import block_signals, ignore_signals, unblock_signals

ViewRequest = tuple[int, int, int]  # index of the file, iteration, position in the batch
ViewFunction = Callable[[str, int, int], Any]  # takes a path, an iteration and a position

CPU = torch.device("cpu")

# The niceness of worker processes that share their cores with the training.
NICENESS = 10

# Images per batch in `decode_all`.
BATCH_SIZE = 64

# For fewer images, worker processes are not worth starting.
MIN_IMAGES_FOR_WORKERS = 2001

# Kept alive on purpose: each error references DataLoader's half-built iterator, whose destructor
# would print a traceback.
_failed_starts: list[OSError] = []


@dataclass
class DecodeStats:
    """How fast images are decoded, and how long the training waits for them."""

    num_images: int = 0
    decoding: float = 0.0  # seconds of CPU time, summed over processes
    waiting: float = 0.0  # seconds

    def since(self, before: "DecodeStats") -> "DecodeStats":
        """The increase since an earlier state."""
        return DecodeStats(
            self.num_images - before.num_images,
            self.decoding - before.decoding,
            self.waiting - before.waiting,
        )

    def images_per_second(self) -> float:
        """The decoding speed of one process that has a core to itself."""
        return self.num_images / self.decoding if self.decoding > 0 else float("inf")


class _Decoded(NamedTuple):
    batch: Any
    num_images: int
    seconds: float  # of CPU time


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
            return error  # raised in a worker, it would arrive wrapped in the worker's traceback
        seconds = time.thread_time() - start
        batch = self.collate(views)
        if get_worker_info() is not None and isinstance(batch, Tensor):
            try:
                batch.share_memory_()
            except RuntimeError:  # /dev/shm is full: 64 MB is Docker's default
                batch = batch.numpy()  # sent through a pipe
        return _Decoded(batch, len(views), seconds)


def _identity(batch: Any) -> Any:
    return batch


def _init_worker(niceness: int, _number: int) -> None:
    # Training still needs its workers after a signal, which may reach all processes at once.
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
    """Decode the views in `requests`; for each list of requests, yield one batch made by `collate`.

    device: where the views are used. For a GPU, they are in pinned memory; for a CPU, workers run
    at a lower priority than the training. `stats` is updated.

    Raises DataError if an image cannot be read, or if the system kills a worker process.
    """
    loader = DataLoader(
        _DecodedBatches(files, view, collate),
        batch_size=None,
        sampler=requests,
        num_workers=num_workers,
        collate_fn=_identity,
        pin_memory=device.type == "cuda",
        worker_init_fn=partial(_init_worker, NICENESS if device.type == "cpu" else 0),
    )
    stats = DecodeStats() if stats is None else stats
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
            start = time.perf_counter()
            decoded = next(batches, None)
            stats.waiting += time.perf_counter() - start
            if decoded is None:
                return
            if isinstance(decoded, DataError):
                raise decoded
            stats.num_images += decoded.num_images
            stats.decoding += decoded.seconds
            yield (
                _from_pipe(decoded.batch)
                if isinstance(decoded.batch, np.ndarray)
                else (decoded.batch)
            )
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DataError(
            f"the system ended a process that decodes images ({str(error).splitlines()[0]}). "
            "If memory ran out, set runtime.num_workers lower; repeat the command"
        ) from error
    finally:
        del batches  # ends the workers


def _from_pipe(pixels: "np.ndarray[Any, Any]") -> Tensor:
    warnings.warn(
        "/dev/shm is too small for the images that worker processes decode: they come through "
        "pipes, which is slower. Enlarge it (docker run --shm-size=2g), or decode without such "
        "processes (runtime.num_workers=0)",
        stacklevel=1,
    )
    return torch.from_numpy(pixels)


def request_all(num_images: int, batch_size: int) -> list[list[ViewRequest]]:
    """Requests for every image once, in order, in batches."""
    batches = torch.arange(num_images).split(batch_size)
    return [[(index, 0, 0) for index in batch.tolist()] for batch in batches]


def decode_all(
    files: Files,
    view: ViewFunction,
    num_workers: int,
    what: str,
    progress: ReportProgress = ignore_progress,
) -> Generator[Tensor, None, None]:
    """One view of every file, in order, stacked in batches; reports progress on `what`."""
    num_workers = num_workers if len(files) >= MIN_IMAGES_FOR_WORKERS else 0
    num_decoded = 0
    for views in decode_views(files, view, request_all(len(files), BATCH_SIZE), num_workers):
        yield views
        num_decoded += len(views)
        progress(what, num_decoded, len(files))


def load_arrays(
    files: Files, image_size: int, num_workers: int, progress: ReportProgress = ignore_progress
) -> Arrays:
    """Decode all files into memory, each as a centre crop of `image_size` x `image_size` pixels.

    The shorter side is resized to `image_size` first.
    """
    images = torch.empty(len(files), 3, image_size, image_size, dtype=torch.uint8)
    view = partial(centre_view, image_size=image_size, shorter_side=image_size)
    views = decode_all(files, view, num_workers, "decoding images", progress)
    for target, batch in zip(images.split(BATCH_SIZE), views, strict=True):
        target.copy_(batch)
    return Arrays(images, files.labels)
