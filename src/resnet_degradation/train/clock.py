"""Time spent on a run, across interruptions, and the speed of training alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts from `seconds_before`: what the run took before it was resumed."""

    def __init__(self, seconds_before: float = 0.0) -> None:
        self._origin = time.monotonic() - seconds_before
        self._interval_began = time.monotonic()

    def seconds(self) -> float:
        """The run's time so far, with all that is no training, without interruptions."""
        return time.monotonic() - self._origin

    def lap(self) -> float:
        """Seconds of training since the last lap, without what was excluded."""
        now = time.monotonic()
        lap, self._interval_began = now - self._interval_began, now
        return lap

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Keep what is done inside (evaluations, checkpoints) out of the lap's time."""
        began = time.monotonic()
        yield
        self._interval_began += time.monotonic() - began
