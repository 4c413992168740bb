"""Time spent on a run, across interruptions, and the speed of training alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 1e-6  # seconds


class Clock:
    """Counts a run's seconds, and those of training since the last lap."""

    def __init__(self) -> None:
        self._origin = time.monotonic()
        self._lap = 0.0  # seconds of training in this lap, before the clock last ran
        self._running_since: float | None = None

    def seconds(self) -> float:
        """The run's time so far, with all that is no training, without interruptions."""
        return time.monotonic() - self._origin

    def run(self) -> None:
        """Training begins, or goes on."""
        if self._running_since is None:
            self._running_since = time.monotonic()

    def lap(self) -> float:
        """Seconds of training since the last lap, without what was excluded; begins the next.

        Never 0, so that a speed can be had of it, where a clock ticks slower than a net trains.
        """
        lap = max(self._lap_so_far(), TICK)
        self._lap = 0.0
        if self._running_since is not None:
            self._running_since = time.monotonic()
        return lap

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Keep what is done inside (evaluations, checkpoints) out of the lap's time."""
        was_running = self._running_since is not None
        self._lap, self._running_since = self._lap_so_far(), None
        yield
        if was_running:
            self.run()

    def _lap_so_far(self) -> float:
        since = self._running_since
        return self._lap + (0 if since is None else time.monotonic() - since)

    def state_dict(self) -> dict[str, float]:
        """The times so far, for a checkpoint."""
        return {"seconds": self.seconds(), "lap": self._lap_so_far()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint's state; training does not run yet."""
        self._origin = time.monotonic() - state["seconds"]
        self._lap, self._running_since = state["lap"], None
