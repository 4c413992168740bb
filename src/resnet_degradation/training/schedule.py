"""The timing of a run: its length, its intervals, and the learning rate of every iteration."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from resnet_degradation.config.durations import Duration, is_fraction, to_iterations
from resnet_degradation.config.schema import Config, RecipeConfig
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """The length and the intervals of a run, in iterations."""

    num_iterations: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep_every: int | None  # interval of permanent checkpoints; None: none are kept
    signals_every: int | None  # interval of layer statistics; None: none are recorded
    iterations_per_epoch: float

    @property
    def final_window(self) -> int:
        """The number of iterations over which the final training error is measured.

        This is the last epoch, or the last tenth of the run if that is shorter.
        """
        return max(1, round(min(self.iterations_per_epoch, self.num_iterations / 10)))

    def is_due(self, iteration: int, interval: int | None) -> bool:
        """Whether an action with this interval is due.

        At the last iteration, every action is due unless its interval is None (disabled).
        """
        return interval is not None and (
            iteration % interval == 0 or iteration == self.num_iterations
        )


def make_plan(config: Config, num_train: int, num_held_out: int) -> Plan:
    """Make the plan of a resolved configuration for these numbers of images.

    If an interval is null, it is chosen from the length of the run. A short run gets enough points
    for a curve. A long run gets a row every 100 iterations, an evaluation every 1,000 (or every
    epoch, if that is longer), and a checkpoint every 1,000. Evaluations take at most a fifth of the
    time.

    Raises ConfigError if a batch has more images than the training set.
    """
    batch_size, runtime = config.recipe.batch_size, config.runtime

    def convert(duration: Duration, key: str) -> int:
        return to_iterations(duration, num_train, batch_size, key)

    if batch_size > num_train:
        raise ConfigError(
            f"recipe.batch_size={batch_size} is more than the {num_train} training images: "
            f"set it to at most {num_train}"
        )
    total = convert(config.recipe.iterations, "recipe.iterations")
    epoch = num_train / batch_size
    # Without a backward pass, evaluating an image costs a third of training on it.
    min_eval_interval = 5 * num_held_out / (3 * batch_size)

    def choose_interval(name: str, shortest: float, share: float, longest: float) -> int:
        duration: Duration | None = getattr(runtime, name)
        if duration is None:
            return math.ceil(max(shortest, min(share * total, longest)))
        return convert(duration, f"runtime.{name}")

    def optional_interval(name: str) -> int | None:
        duration: Duration | None = getattr(runtime, name)
        return None if duration is None else convert(duration, f"runtime.{name}")

    log_every = choose_interval("log_every", 10, 1 / 30, 100)
    eval_every = choose_interval("eval_every", min_eval_interval, 1 / 15, max(1000, epoch))
    if runtime.eval_every is None:
        # An evaluation ends the current row. Align evaluations with rows, because a row that
        # averages only a few batches is noisy.
        eval_every = log_every * math.ceil(eval_every / log_every)
    return Plan(
        num_iterations=total,
        log_every=log_every,
        eval_every=eval_every,
        checkpoint_every=choose_interval("checkpoint_every", 10, 1 / 6, 1000),
        keep_every=optional_interval("keep_every"),
        signals_every=optional_interval("signals_every"),
        iterations_per_epoch=epoch,
    )


@dataclass
class ScheduleState:
    """The part of the schedule that depends on errors measured so far; saved in checkpoints."""

    warming_up: bool
    num_reductions: int = 0
    best_error: float = float("inf")
    num_bad_evaluations: int = 0


class Schedule:
    """The learning rate as a function of the iteration and of the errors measured so far.

    With milestones, it starts at `lr` and is multiplied by `gamma` at every milestone. With
    plateaus, it is multiplied by `gamma` whenever the held-out error has not fallen by
    `plateau_threshold` percentage points for `plateau_patience` evaluations. During the warm-up,
    it is at most `warmup_lr`; the warm-up ends for good once the training error over
    `warmup_window` iterations is below `warmup_until`.
    """

    def __init__(self, recipe: RecipeConfig, num_iterations: int, num_images: int) -> None:
        self.recipe = recipe
        self.uses_plateaus = recipe.schedule == "plateau"
        self.milestones = (
            [] if self.uses_plateaus else resolve_milestones(recipe, num_iterations, num_images)
        )
        self.plateau_every = to_iterations(
            recipe.plateau_every, num_images, recipe.batch_size, "recipe.plateau_every"
        )
        self.state = ScheduleState(warming_up=recipe.warmup == "always")

    def lr(self, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 0."""
        num_passed = sum(milestone <= iteration for milestone in self.milestones)
        num_reductions = self.state.num_reductions if self.uses_plateaus else num_passed
        lr = self.recipe.lr * self.recipe.gamma**num_reductions
        return min(lr, self.recipe.warmup_lr) if self.state.warming_up else lr

    def wants_training_error(self, iteration: int) -> bool:
        """Whether to call `observe_training_error` after this many iterations."""
        return self.state.warming_up and iteration % self.recipe.warmup_window == 0

    def observe_training_error(self, error: float) -> None:
        """End the warm-up if the training error (percent) of the last window is low enough."""
        if error < self.recipe.warmup_until:
            self.state.warming_up = False

    def wants_held_out_error(self, iteration: int) -> bool:
        """Whether to call `observe_held_out_error` after this many iterations."""
        return self.uses_plateaus and iteration % self.plateau_every == 0

    def observe_held_out_error(self, error: float) -> None:
        """Reduce the learning rate if the held-out error (percent) has reached a plateau."""
        state = self.state
        if error <= state.best_error - self.recipe.plateau_threshold:
            state.best_error, state.num_bad_evaluations = error, 0
            return
        state.num_bad_evaluations += 1
        if state.num_bad_evaluations >= self.recipe.plateau_patience:
            state.num_reductions += 1
            state.num_bad_evaluations = 0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = ScheduleState(**state)


def resolve_milestones(recipe: RecipeConfig, num_iterations: int, num_images: int) -> list[int]:
    """Convert the milestones to iterations; fractions are relative to `num_iterations`.

    Raises ConfigError unless they increase and lie within the run. (In a very short run, several
    fractions may become the same iteration.)
    """
    resolved = [
        min(round(milestone * num_iterations), num_iterations - 1)
        if is_fraction(milestone)
        else to_iterations(milestone, num_images, recipe.batch_size, "recipe.milestones")
        for milestone in recipe.milestones
    ]
    repeated = len(set(recipe.milestones)) < len(recipe.milestones)
    if repeated or resolved != sorted(resolved) or any(m >= num_iterations for m in resolved):
        raise ConfigError(
            f"recipe.milestones={recipe.milestones} are iterations {resolved}: list them in "
            f"increasing order and below recipe.iterations={num_iterations}, or as fractions of it"
        )
    return resolved
