"""How long a run is and what happens when, in iterations."""

import math
from dataclasses import dataclass

from resnet_degradation.config.durations import Duration, to_iterations
from resnet_degradation.config.schema import Config
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """Lengths in iterations. Every interval is counted from the run's beginning."""

    num_iterations: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    signals_every: int | None  # None: never
    iterations_per_epoch: float

    @property
    def final_window(self) -> int:
        """The iterations over which the final training error is counted.

        The last epoch, or the last tenth of the run where that is shorter: few batches are noisy.
        """
        return max(1, round(min(self.iterations_per_epoch, self.num_iterations / 10)))

    def due(self, done: int, interval: int | None) -> bool:
        """Whether something done every `interval` is due after `done` iterations."""
        return interval is not None and (done % interval == 0 or done == self.num_iterations)


def make_plan(config: Config, num_train: int, num_held_out: int) -> Plan:
    """The plan of a settled configuration on so many training and held-out images.

    An interval left open depends on the length of the run: a short one gets enough points for a
    curve, a long one a row every 100 iterations, an evaluation every 1,000 (or every epoch, where
    that is longer), and a checkpoint every 1,000. Evaluations are spaced so as to take no more
    than about a fifth of the time.

    Raises ConfigError if there are fewer training images than a batch has.
    """
    batch_size, runtime = config.recipe.batch_size, config.runtime

    def iterations(duration: Duration, key: str) -> int:
        return to_iterations(duration, num_train, batch_size, key)

    if batch_size > num_train:
        raise ConfigError(
            f"recipe.batch_size={batch_size} is more than the {num_train} training images: "
            "give at most their number"
        )
    total = iterations(config.recipe.iterations, "recipe.iterations")
    epoch = num_train / batch_size
    # An image costs a third of a training image to evaluate: one forward, no backward pass.
    fifth_of_the_time = 5 * num_held_out / (3 * batch_size)

    def interval(name: str, shortest: float, share: float, longest: float) -> int:
        duration: Duration | None = getattr(runtime, name)
        if duration is None:
            return math.ceil(max(shortest, min(share * total, longest)))
        return iterations(duration, f"runtime.{name}")

    log_every = interval("log_every", 10, 1 / 30, 100)
    eval_every = interval("eval_every", fifth_of_the_time, 1 / 15, max(1000, epoch))
    if runtime.eval_every is None:
        # An evaluation ends a row: between two rows, it would leave one of few, noisy, batches.
        eval_every = log_every * math.ceil(eval_every / log_every)
    return Plan(
        num_iterations=total,
        log_every=log_every,
        eval_every=eval_every,
        checkpoint_every=interval("checkpoint_every", 10, 1 / 6, 1000),
        signals_every=None
        if runtime.signals_every is None
        else iterations(runtime.signals_every, "runtime.signals_every"),
        iterations_per_epoch=epoch,
    )
