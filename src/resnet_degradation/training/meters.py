"""Meters of a run's training: loss and error, time, and whether decoding keeps up."""

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
TOO_MUCH_WAITING = 20.0

# Seconds of training before a warning: at first, the decoding processes are still starting.
START_UP = 10.0


class TrainingError(NamedTuple):
    """Mean loss, and error in percent, over some training images."""

    loss: float
    error: float
    num_images: int


class Meter:
    """Training loss and error, summed over the whole run.

    Each reader gets the mean since it last read.

    `update` leaves everything on the device, so that no iteration waits for the device (except for
    an Apple GPU). Reading adds up the sums of all processes; from then on, rank 0 holds them.
    """

    def __init__(
        self, device: torch.device, readers: tuple[str, ...], world: World = SINGLE_PROCESS
    ) -> None:
        self.world = world
        if device.type == MPS:
            device = torch.device("cpu")  # an Apple GPU has no float64
        # Sum of losses, number of wrong answers, number of images.
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        # Iterations before the sum of losses stopped being finite; it never becomes finite again.
        self.num_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.last_read = dict.fromkeys(readers, (0.0, 0.0, 0.0))

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (), its logits (B, classes) and its labels (B,)."""
        device = self.totals.device
        wrong = (logits.argmax(dim=1) != labels).sum().to(device)
        num_images = torch.full_like(wrong, len(labels))
        loss = loss.detach().to(device).double() * len(labels)
        self.totals += torch.stack([loss, wrong, num_images])
        self.num_finite += self.totals[0].isfinite()

    def read(self, reader: str) -> TrainingError:
        """The mean over all processes since `reader` last read."""
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

    def count_finite(self) -> int:
        """The number of iterations before any process's loss first was not finite."""
        return int(self.world.all_reduce_min(self.num_finite))

    def state_dict(self) -> dict[str, Any]:
        return {
            "totals": self._collect(),
            "num_finite": self.count_finite(),
            "last_seen": {reader: list(sums) for reader, sums in self.last_read.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals.copy_(torch.tensor(state["totals"], dtype=torch.float64))
        if not self.world.is_main:
            self.totals.zero_()
        self.num_finite.fill_(state["num_finite"])
        self.last_read = {name: (s[0], s[1], s[2]) for name, s in state["last_seen"].items()}


class Clock:
    """Counts a run's seconds, and the seconds of training since the last lap."""

    def __init__(self) -> None:
        self._origin = time.monotonic()
        self._lap = 0.0  # seconds of training in this lap until the clock last stopped
        self._running_since: float | None = None

    def seconds(self) -> float:
        """The run's time so far, evaluations included, interruptions excluded."""
        return time.monotonic() - self._origin

    def run(self) -> None:
        """Start counting training time, or continue after a pause."""
        if self._running_since is None:
            self._running_since = time.monotonic()

    def lap(self) -> float:
        """Seconds of training since the last lap; starts the next one.

        Never 0, because a speed is computed from it and a clock's tick may be longer than a lap.
        """
        lap = max(self._lap_so_far(), 1e-6)
        self._lap = 0.0
        if self._running_since is not None:
            self._running_since = time.monotonic()
        return lap

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Do not count what happens inside (evaluations, checkpoints) as training."""
        was_running = self._running_since is not None
        self._lap, self._running_since = self._lap_so_far(), None
        yield
        if was_running:
            self.run()

    def _lap_so_far(self) -> float:
        since = self._running_since
        return self._lap + (0 if since is None else time.monotonic() - since)

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds(), "lap": self._lap_so_far()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._origin = time.monotonic() - state["seconds"]
        self._lap, self._running_since = state["lap"], None


class Throughput(NamedTuple):
    """How fast images were decoded, and how long training waited for them."""

    decoded_per_second: float  # by one process, per second of its CPU time
    waiting_percent: float  # of the training time

    def __str__(self) -> str:
        return (
            f"each process decodes {self.decoded_per_second:,.0f} images per second; training "
            f"waits for them {self.waiting_percent:.0f} % of the time"
        )


def throughput_of(stats: DecodeStats, seconds: float) -> Throughput:
    """The throughput over `seconds` of training."""
    waiting = 100 * stats.wait_seconds / seconds if seconds > 0 else 0.0
    return Throughput(stats.images_per_second(), min(waiting, 100.0))


class ThroughputMonitor:
    """Measures decoding since the run was started or resumed."""

    def __init__(self, name: str, stats: DecodeStats | None, num_workers: int) -> None:
        """stats: the decoding counters of the batches; None if images are in memory."""
        self.name = name
        self.num_workers = num_workers
        self._stats = stats
        self._last = self._first = DecodeStats()
        self._seconds = 0.0  # seconds of training
        self._warned = False

    def begin(self) -> None:
        """Ignore what was decoded before training began."""
        if self._stats is not None:
            self._last = self._first = self._stats.since(DecodeStats())

    def since_last(self, seconds: float) -> Throughput | None:
        """The throughput since the last call, `seconds` of training ago; warns once if too low."""
        if self._stats is None:
            return None
        recent = throughput_of(self._stats.since(self._last), seconds)
        self._last = self._stats.since(DecodeStats())
        self._seconds += seconds
        too_slow = self._seconds > START_UP and recent.waiting_percent > TOO_MUCH_WAITING
        if too_slow and not self._warned:
            self._warned = True
            warnings.warn(self._bottleneck(recent), stacklevel=2)
        return recent

    def overall(self) -> Throughput | None:
        """The throughput since `begin`; None if images are in memory."""
        if self._stats is None or self._seconds == 0:
            return None
        return throughput_of(self._last.since(self._first), self._seconds)

    def summary(self) -> dict[str, Any] | None:
        """The overall throughput for summary.json."""
        overall = self.overall()
        return None if overall is None else {"num_workers": self.num_workers, **overall._asdict()}

    def _bottleneck(self, measured: Throughput) -> str:
        at_most = max(1, self.num_workers) * measured.decoded_per_second
        return (
            f"the data is the bottleneck of {self.name}: {measured.waiting_percent:.0f} % of the "
            f"time is spent waiting for images. Decoding one takes "
            f"{1000 / measured.decoded_per_second:.2g} ms of CPU time, so "
            f"runtime.num_workers={self.num_workers} gives at most {at_most:,.0f} images per "
            "second: raise it if cores are idle, or store smaller images"
        )
