"""The learning rate of every iteration (sections 3.4 and 4.2)."""

from dataclasses import asdict, dataclass
from typing import Any

from resnet_degradation.config.durations import is_fraction, to_iterations
from resnet_degradation.config.schema import RecipeConfig
from resnet_degradation.system.errors import ConfigError


@dataclass
class ScheduleState:
    """What the schedule has learned from the run so far; a checkpoint holds it."""

    warming_up: bool
    num_reductions: int = 0
    best_error: float = float("inf")
    num_bad_evaluations: int = 0


class Schedule:
    """The rate as a function of the iteration and of the errors seen so far.

    With milestones: `lr` times `gamma` for every milestone passed. With plateaus: times `gamma`
    whenever the held-out error has not fallen by `plateau_threshold` points for
    `plateau_patience` evaluations. While warming up, never more than `warmup_lr`; the warm-up
    ends for good once the training error over `warmup_window` iterations is below `warmup_until`.
    """

    def __init__(self, recipe: RecipeConfig, num_iterations: int, num_images: int) -> None:
        self.recipe = recipe
        self.by_plateau = recipe.schedule == "plateau"
        self.milestones = [] if self.by_plateau else milestones(recipe, num_iterations, num_images)
        self.plateau_every = to_iterations(
            recipe.plateau_every, num_images, recipe.batch_size, "recipe.plateau_every"
        )
        self.state = ScheduleState(warming_up=recipe.warmup == "always")

    def rate(self, iteration: int) -> float:
        """The rate of the update that turns `iteration` updates into one more."""
        passed = sum(milestone <= iteration for milestone in self.milestones)
        num_reductions = self.state.num_reductions if self.by_plateau else passed
        rate = self.recipe.lr * self.recipe.gamma**num_reductions
        return min(rate, self.recipe.warmup_lr) if self.state.warming_up else rate

    def wants_training_error(self, done: int) -> bool:
        """Whether `observe_training_error` is to be called after `done` iterations."""
        return self.state.warming_up and done % self.recipe.warmup_window == 0

    def observe_training_error(self, error: float) -> None:
        """Take the training error (percent) of the last `warmup_window` iterations."""
        if error < self.recipe.warmup_until:
            self.state.warming_up = False

    def wants_held_out_error(self, done: int) -> bool:
        """Whether `observe_held_out_error` is to be called after `done` iterations."""
        return self.by_plateau and done % self.plateau_every == 0

    def observe_held_out_error(self, error: float) -> None:
        """Take a held-out error (percent) and divide the rate if it has reached a plateau."""
        state = self.state
        if error <= state.best_error - self.recipe.plateau_threshold:
            state.best_error, state.num_bad_evaluations = error, 0
            return
        state.num_bad_evaluations += 1
        if state.num_bad_evaluations >= self.recipe.plateau_patience:
            state.num_reductions += 1
            state.num_bad_evaluations = 0

    def state_dict(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        self.state = ScheduleState(**state)


def milestones(recipe: RecipeConfig, num_iterations: int, num_images: int) -> list[int]:
    """The milestones in iterations; fractions are of `num_iterations`.

    Raises ConfigError unless they rise and lie within the run. (Of a run too short to tell two
    fractions apart, several may come to the same iteration.)
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
            f"recipe.milestones={recipe.milestones} come to iterations {resolved}: give them in "
            f"rising order and below recipe.iterations={num_iterations}, or as fractions of it"
        )
    return resolved
