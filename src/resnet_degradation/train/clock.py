"""Time spent on a run, across interruptions, and the speed of training alone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Counts a run's seconds, and those of training since the last lap."""

    def __init__(self) -> None:
        self._origin = self._lap_origin = time.monotonic()

    def seconds(self) -> float:
        """The run's time so far, with all that is no training, without interruptions."""
        return time.monotonic() - self._origin

    def lap(self) -> float:
        """Seconds of training since the last lap, without what was excluded; begins the next."""
        now = time.monotonic()
        lap, self._lap_origin = now - self._lap_origin, now
        return lap

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Keep what is done inside (evaluations, checkpoints) out of the lap's time."""
        began = time.monotonic()
        yield
        self._lap_origin += time.monotonic() - began

    def state_dict(self) -> dict[str, float]:
        """The times so far, for a checkpoint."""
        now = time.monotonic()
        return {"seconds": now - self._origin, "lap": now - self._lap_origin}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint's state."""
        now = time.monotonic()
        self._origin, self._lap_origin = now - state["seconds"], now - state["lap"]
