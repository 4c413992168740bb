"""Measures a run's training: loss and error, time, and whether decoding keeps up."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_degradation.data.decode import DecodeStats
from resnet_degradation.distributed.world import SINGLE_PROCESS, World
from resnet_degradation.system.apple_gpu import MPS

# Data is the bottleneck if training waits for it more than this percentage of the time.
MAX_WAITING_PERCENT = 20.0

# There is no warning in the first seconds of training, while the decoding processes start.
START_UP_SECONDS = 10.0


class TrainingError(NamedTuple):
    """Mean loss, and error in percent, over some training images."""

    loss: float
    error: float
    num_images: int


class Meter:
    """Sums up the training loss and error of a run. Each reader gets the mean since its last read.

    `update` keeps the sums on the device, so that no iteration waits for the device (except for an
    Apple GPU). Reading adds up the sums of all processes; from then on, rank 0 holds the total.
    """

    def __init__(
        self, device: torch.device, readers: tuple[str, ...], world: World = SINGLE_PROCESS
    ) -> None:
        self.world = world
        if device.type == MPS:
            device = torch.device("cpu")  # an Apple GPU has no float64
        # Sum of losses, number of wrong predictions, number of images.
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        # Number of iterations with a finite sum of losses. Once infinite or NaN, the sum stays so.
        self.num_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.last_read = dict.fromkeys(readers, (0.0, 0.0, 0.0))

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits of shape (B, classes), and labels of shape (B,)."""
        device = self.totals.device
        wrong = (logits.argmax(dim=1) != labels).sum().to(device)
        num_images = torch.full_like(wrong, len(labels))
        loss = loss.detach().to(device).double() * len(labels)
        self.totals += torch.stack([loss, wrong, num_images])
        self.num_finite += self.totals[0].isfinite()

    def read(self, reader: str) -> TrainingError:
        """Return the mean over all processes since `reader` last called this."""
        loss, wrong, num_images = self._collect()
        last_loss, last_wrong, last_num_images = self.last_read[reader]
        self.last_read[reader] = (loss, wrong, num_images)
        count = num_images - last_num_images
        return TrainingError(
            (loss - last_loss) / count, 100 * (wrong - last_wrong) / count, int(count)
        )

    def _collect(self) -> list[float]:
        totals: list[float] = self.world.all_reduce_sum(self.totals).tolist()
        if not self.world.is_main:  # rank 0 holds the sums now
            self.totals.zero_()
        return totals

    def count_finite_iterations(self) -> int:
        """Count the iterations before the loss of any process became infinite or NaN."""
        return int(self.world.all_reduce_min(self.num_finite))

    def state_dict(self) -> dict[str, Any]:
        return {
            "totals": self._collect(),
            "num_finite": self.count_finite_iterations(),
            "last_seen": {reader: list(sums) for reader, sums in self.last_read.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals.copy_(torch.tensor(state["totals"], dtype=torch.float64))
        if not self.world.is_main:
            self.totals.zero_()
        self.num_finite.fill_(state["num_finite"])
        self.last_read = {name: (s[0], s[1], s[2]) for name, s in state["last_seen"].items()}


class Clock:
    """Measures the time of a run, and its training time in laps."""

    def __init__(self) -> None:
        self._origin = time.monotonic()
        self._lap = 0.0  # seconds of training in this lap before the last pause
        self._running_since: float | None = None

    def seconds(self) -> float:
        """Return the time of the run so far, with evaluations but without interruptions."""
        return time.monotonic() - self._origin

    def start(self) -> None:
        """Start to count training time, or continue after a pause."""
        if self._running_since is None:
            self._running_since = time.monotonic()

    def lap(self) -> float:
        """Return the seconds of training in this lap, and start the next lap.

        Never returns 0, even if the clock has not advanced, because speeds are divided by it.
        """
        lap = max(self._lap_so_far(), 1e-6)
        self._lap = 0.0
        if self._running_since is not None:
            self._running_since = time.monotonic()
        return lap

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time inside the block (evaluations, checkpoints) as training."""
        was_running = self._running_since is not None
        self._lap, self._running_since = self._lap_so_far(), None
        yield
        if was_running:
            self.start()

    def _lap_so_far(self) -> float:
        since = self._running_since
        return self._lap + (0 if since is None else time.monotonic() - since)

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds(), "lap": self._lap_so_far()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._origin = time.monotonic() - state["seconds"]
        self._lap, self._running_since = state["lap"], None


class Throughput(NamedTuple):
    """The speed of decoding images, and the share of time that training waited for them."""

    decoded_per_second: float  # per process and second of CPU time
    waiting_percent: float  # of the training time

    def __str__(self) -> str:
        return (
            f"each process decodes {self.decoded_per_second:,.0f} images per second; training "
            f"waits for them {self.waiting_percent:.0f} % of the time"
        )


def compute_throughput(stats: DecodeStats, seconds: float) -> Throughput:
    """Return the throughput over `seconds` of training."""
    waiting = 100 * stats.wait_seconds / seconds if seconds > 0 else 0.0
    return Throughput(stats.images_per_second(), min(waiting, 100.0))


class ThroughputMonitor:
    """Measures decoding since the run was started or resumed."""

    def __init__(self, name: str, stats: DecodeStats | None, num_workers: int) -> None:
        """stats: the decoding statistics of the batches; None if images are in memory."""
        self.name = name
        self.num_workers = num_workers
        self._stats = stats
        self._last = self._first = DecodeStats()
        self._seconds = 0.0  # seconds of training
        self._warned = False

    def begin(self) -> None:
        """Ignore images that were decoded before training."""
        if self._stats is not None:
            self._last = self._first = self._stats.since(DecodeStats())  # a copy

    def measure_recent(self, seconds: float) -> Throughput | None:
        """Measure the `seconds` of training since the last call; warn once if data is too slow."""
        if self._stats is None:
            return None
        recent = compute_throughput(self._stats.since(self._last), seconds)
        self._last = self._stats.since(DecodeStats())  # a copy
        self._seconds += seconds
        too_slow = self._seconds > START_UP_SECONDS and recent.waiting_percent > MAX_WAITING_PERCENT
        if too_slow and not self._warned:
            self._warned = True
            warnings.warn(self._bottleneck_warning(recent), stacklevel=2)
        return recent

    def overall(self) -> Throughput | None:
        """Return the throughput since `begin`; None if images are in memory."""
        if self._stats is None or self._seconds == 0:
            return None
        return compute_throughput(self._last.since(self._first), self._seconds)

    def summary(self) -> dict[str, Any] | None:
        """Return the overall throughput, for summary.json."""
        overall = self.overall()
        return None if overall is None else {"num_workers": self.num_workers, **overall._asdict()}

    def _bottleneck_warning(self, measured: Throughput) -> str:
        max_speed = max(1, self.num_workers) * measured.decoded_per_second
        return (
            f"the data is the bottleneck of {self.name}: {measured.waiting_percent:.0f} % of the "
            f"time is spent waiting for images. Decoding one takes "
            f"{1000 / measured.decoded_per_second:.2g} ms of CPU time, so "
            f"runtime.num_workers={self.num_workers} gives at most {max_speed:,.0f} images per "
            "second: raise it if cores are idle, or store smaller images"
        )
