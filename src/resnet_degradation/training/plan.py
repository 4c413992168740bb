"""The length of a run and its intervals, in iterations."""

import math
from dataclasses import dataclass

from resnet_degradation.config.durations import Duration, to_iterations
from resnet_degradation.config.schema import Config
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """Lengths in iterations. Intervals count from the start of the run."""

    num_iterations: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    signals_every: int | None  # None: never
    iterations_per_epoch: float

    @property
    def final_window(self) -> int:
        """The iterations over which the final training error is measured.

        The last epoch, or the last tenth of the run if that is shorter.
        """
        return max(1, round(min(self.iterations_per_epoch, self.num_iterations / 10)))

    def is_due(self, iteration: int, interval: int | None) -> bool:
        """Whether what happens every `interval` iterations is due; at the end everything is."""
        return interval is not None and (
            iteration % interval == 0 or iteration == self.num_iterations
        )


def make_plan(config: Config, num_train: int, num_held_out: int) -> Plan:
    """The plan of a resolved configuration for these numbers of images.

    Intervals that are null depend on the length of the run: a short run gets enough points for a
    curve; a long one a row every 100 iterations, an evaluation every 1,000 (or every epoch, if that
    is longer), and a checkpoint every 1,000. Evaluations take at most about a fifth of the time.

    Raises ConfigError if a batch has more images than the training set.
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
