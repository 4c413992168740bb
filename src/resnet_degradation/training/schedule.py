"""The learning rate of every iteration (sections 3.4 and 4.2)."""

from dataclasses import asdict, dataclass
from typing import Any

from resnet_degradation.config.durations import is_fraction, to_iterations
from resnet_degradation.config.schema import RecipeConfig
from resnet_degradation.system.errors import ConfigError


@dataclass
class ScheduleState:
    """What the schedule has learned from the run so far; part of a checkpoint."""

    warming_up: bool
    num_reductions: int = 0
    best_error: float = float("inf")
    num_bad_evaluations: int = 0


class Schedule:
    """The learning rate as a function of the iteration and of the errors measured so far.

    With milestones: `lr` times `gamma` for every milestone passed. With plateaus: times `gamma`
    whenever the held-out error has not fallen by `plateau_threshold` points for
    `plateau_patience` evaluations. While warming up, at most `warmup_lr`; the warm-up ends for
    good once the training error over `warmup_window` iterations is below `warmup_until`.
    """

    def __init__(self, recipe: RecipeConfig, num_iterations: int, num_images: int) -> None:
        self.recipe = recipe
        self.by_plateau = recipe.schedule == "plateau"
        self.milestones = [] if self.by_plateau else milestones(recipe, num_iterations, num_images)
        self.plateau_every = to_iterations(
            recipe.plateau_every, num_images, recipe.batch_size, "recipe.plateau_every"
        )
        self.state = ScheduleState(warming_up=recipe.warmup == "always")

    def lr(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        passed = sum(milestone <= iteration for milestone in self.milestones)
        num_reductions = self.state.num_reductions if self.by_plateau else passed
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
        return self.by_plateau and iteration % self.plateau_every == 0

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


def milestones(recipe: RecipeConfig, num_iterations: int, num_images: int) -> list[int]:
    """The milestones in iterations; fractions are of `num_iterations`.

    Raises ConfigError unless they rise and lie within the run. (In a very short run, several
    fractions may be the same iteration.)
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
            f"recipe.milestones={recipe.milestones} are iterations {resolved}: give them in "
            f"rising order and below recipe.iterations={num_iterations}, or as fractions of it"
        )
    return resolved
