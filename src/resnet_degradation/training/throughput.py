"""Whether decoding keeps up with training."""

import warnings
from typing import Any, NamedTuple

from resnet_degradation.data.decode import DecodeStats

# Percent of the training time spent waiting, from which the data is called the bottleneck.
TOO_MUCH_WAITING = 20.0

# Seconds of training before a warning: at first, the decoding processes are still starting.
START_UP = 10.0


class Throughput(NamedTuple):
    """How images were decoded over some time of training."""

    decoded_per_second: float  # by one process, per second of its CPU time
    waiting_percent: float  # of the training time

    def __str__(self) -> str:
        return (
            f"each process decodes {self.decoded_per_second:,.0f} images a second; training waits "
            f"for them {self.waiting_percent:.0f} % of the time"
        )


def throughput_of(stats: DecodeStats, seconds: float) -> Throughput:
    """The throughput over so many seconds of training."""
    waiting = 100 * stats.waiting / seconds if seconds > 0 else 0.0
    return Throughput(stats.images_per_second(), min(waiting, 100.0))


class ThroughputMonitor:
    """Measures decoding since the run was started or resumed."""

    def __init__(self, name: str, stats: DecodeStats | None, num_workers: int) -> None:
        """stats: what the batches count; None where images are in memory."""
        self.name = name
        self.num_workers = num_workers
        self._stats = stats
        self._last = self._first = DecodeStats()
        self._seconds = 0.0  # of training
        self._warned = False

    def begin(self) -> None:
        """Ignore what was decoded before training began."""
        if self._stats is not None:
            self._last = self._first = self._stats.since(DecodeStats())

    def since_last(self, seconds: float) -> Throughput | None:
        """The throughput since the last call, `seconds` of training ago; warns if it is low."""
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
        """The throughput of the whole run; None where images are in memory."""
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
            f"{1000 / measured.decoded_per_second:.2g} ms of a core, so "
            f"runtime.num_workers={self.num_workers} gives at most {at_most:,.0f} a second: raise "
            "it where cores are idle, or store smaller images"
        )
