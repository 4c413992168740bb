"""Notices when a run becomes far slower than it was."""

from dataclasses import dataclass

from resnet_degradation.system.process import cpu_contention

# A slowdown is reported if images take this many times as long as at the run's best speed.
FAR_SLOWER = 3.0

# Speeds measured over fewer seconds are too noisy.
ENOUGH_SECONDS = 5.0


@dataclass
class Slowdown:
    """The best throughput of a run in this process, and whether a slowdown was reported."""

    best: float = 0.0  # images/s
    reported: bool = False

    def note(
        self, images_per_second: float, seconds: float, num_threads: int, own_load: int
    ) -> str | None:
        """One line, once, if the last `seconds` were far slower than the best; otherwise None.

        num_threads: the run's number of threads, if it is a single process on the CPU; 0 otherwise.
        own_load: the number of these threads and of the processes that decode images.
        """
        if seconds < ENOUGH_SECONDS:
            return None
        self.best = max(self.best, images_per_second)
        if self.reported or images_per_second * FAR_SLOWER > self.best:
            return None
        self.reported = True
        factor = self.best / images_per_second
        busy = cpu_contention(num_threads, own_load)
        reason = busy or "other programs may be using this machine"
        return f"training takes {factor:.1f} times as long as at its fastest: {reason}"
