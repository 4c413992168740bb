"""Detects that a run has become far slower."""

from dataclasses import dataclass

from resnet_degradation.system.process import describe_cpu_contention

# Report a slowdown if training takes this many times as long as at its best speed.
SLOWDOWN_FACTOR = 3.0

# Speeds measured over fewer seconds are too noisy.
MIN_SECONDS = 5.0


@dataclass
class Slowdown:
    """Tracks the best speed of a run in this process, and whether a slowdown was reported."""

    best: float = 0.0  # images/s
    reported: bool = False

    def update(
        self, images_per_second: float, seconds: float, num_threads: int, own_load: int
    ) -> str | None:
        """Return one line of advice, once, if the last `seconds` were far slower than the best.

        num_threads: the run's number of threads, or 0 unless it is a single process on the CPU.
        own_load: the number of these threads plus the number of processes that decode images.
        """
        if seconds < MIN_SECONDS:
            return None
        self.best = max(self.best, images_per_second)
        if self.reported or images_per_second * SLOWDOWN_FACTOR > self.best:
            return None
        self.reported = True
        factor = self.best / images_per_second
        busy = describe_cpu_contention(num_threads, own_load)
        reason = busy or "other programs may be using this machine"
        return f"training takes {factor:.1f} times as long as at its fastest: {reason}"
