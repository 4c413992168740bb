"""Time spent on a run, across interruptions, and on training alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 1e-6  # seconds


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
        """Training starts or continues."""
        if self._running_since is None:
            self._running_since = time.monotonic()

    def lap(self) -> float:
        """Seconds of training since the last lap; starts the next one.

        Never 0, because a speed is computed from it and some clocks tick slower than a net trains.
        """
        lap = max(self._lap_so_far(), TICK)
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
