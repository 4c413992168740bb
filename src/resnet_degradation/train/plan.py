"""How long a run is and what happens when, in iterations."""

from dataclasses import dataclass

from resnet_degradation.config import Config
from resnet_degradation.durations import Duration, to_iterations


@dataclass(frozen=True)
class Plan:
    """Lengths in iterations. Every interval is counted from the run's beginning."""

    num_iterations: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    iterations_per_epoch: float

    def due(self, done: int, interval: int) -> bool:
        """Whether something done every `interval` is due after `done` iterations."""
        return done % interval == 0 or done == self.num_iterations


def make_plan(config: Config, num_images: int) -> Plan:
    """The plan of a settled configuration on `num_images` training images.

    An interval left open depends on the length of the run: a short one gets enough points for a
    curve, a long one a row every 100 iterations, an evaluation every 1,000 (or every epoch, where
    that is longer), and a checkpoint every 1,000.
    """
    batch_size, runtime = config.recipe.batch_size, config.runtime

    def iterations(duration: Duration, key: str) -> int:
        return to_iterations(duration, num_images, batch_size, key)

    total = iterations(config.recipe.iterations, "recipe.iterations")
    epoch = num_images / batch_size

    def interval(name: str, shortest: int, share: float, longest: float) -> int:
        duration: Duration | None = getattr(runtime, name)
        if duration is None:
            return max(shortest, min(round(share * total), round(longest)))
        return iterations(duration, f"runtime.{name}")

    return Plan(
        num_iterations=total,
        log_every=interval("log_every", 10, 1 / 30, 100),
        eval_every=interval("eval_every", 10, 1 / 15, max(1000, epoch)),
        checkpoint_every=interval("checkpoint_every", 10, 1 / 6, 1000),
        iterations_per_epoch=epoch,
    )
