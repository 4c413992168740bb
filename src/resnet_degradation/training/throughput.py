"""Whether a run's data keeps up with its training."""

import warnings
from typing import Any, NamedTuple

from resnet_degradation.data.decode import DecodeStats

# Percent of the time of training spent on waiting from which the data is called the bottleneck.
TOO_MUCH_WAITING = 20.0

# Seconds of training before which nothing is said of it.
SETTLED = 10.0


class Throughput(NamedTuple):
    """How images are supplied over some time of training."""

    decoded_per_second: float  # by one process, per second of its CPU time
    waiting_percent: float  # of the time

    @staticmethod
    def of(supply: DecodeStats, seconds: float) -> "Throughput":
        """The pace of a supply over so many seconds of training."""
        waiting = 100 * supply.waiting / seconds if seconds > 0 else 0.0
        return Throughput(supply.images_per_second(), min(waiting, 100.0))

    def __str__(self) -> str:
        return (
            f"images decoded at {self.decoded_per_second:,.0f} a second by each process; "
            f"{self.waiting_percent:.0f} % of the time waiting for them"
        )


class ThroughputMonitor:
    """Follows the supply of a run's images since the run began, or was resumed."""

    def __init__(self, name: str, supply: DecodeStats | None, num_workers: int) -> None:
        """supply: what the batches add to; None where images are in memory."""
        self.name = name
        self.num_workers = num_workers
        self._supply = supply
        self._before = self._origin = DecodeStats()
        self._seconds = 0.0  # of training
        self._warned = False

    def begin(self) -> None:
        """Forget what was supplied before training began."""
        if self._supply is not None:
            self._before = self._supply.since(DecodeStats())
            self._origin = self._before

    def look(self, seconds: float) -> Throughput | None:
        """The pace since the last look, `seconds` of training ago; warns where it is too slow."""
        if self._supply is None:
            return None
        recent = Throughput.of(self._supply.since(self._before), seconds)
        self._before = self._supply.since(DecodeStats())
        self._seconds += seconds
        # At first, the processes that decode are still starting.
        if (
            self._seconds > SETTLED
            and recent.waiting_percent > TOO_MUCH_WAITING
            and not self._warned
        ):
            self._warned = True
            warnings.warn(self._bottleneck(recent), stacklevel=2)
        return recent

    def overall(self) -> Throughput | None:
        """The pace of all that was looked at, or None if there is none to tell."""
        if self._supply is None or self._seconds == 0:
            return None
        return Throughput.of(self._before.since(self._origin), self._seconds)

    def summary(self) -> dict[str, Any] | None:
        """The overall pace by names, for the summary of a run."""
        overall = self.overall()
        return None if overall is None else {"num_workers": self.num_workers, **overall._asdict()}

    def _bottleneck(self, pace: Throughput) -> str:
        processes = max(1, self.num_workers)
        return (
            f"the data is the bottleneck of {self.name}: {pace.waiting_percent:.0f} % of the time "
            f"is spent waiting for images. To decode one takes {1000 / pace.decoded_per_second:.2g}"
            f" ms of a core, so runtime.num_workers={self.num_workers} gives at most "
            f"{processes * pace.decoded_per_second:,.0f} a second: raise it where cores are idle, "
            "or store smaller images"
        )
