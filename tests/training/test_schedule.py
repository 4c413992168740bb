"""The learning rate follows sections 3.4 and 4.2 at every iteration."""

from dataclasses import replace

import pytest

from resnet_degradation.config.schema import RecipeConfig
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.training.schedule import Schedule, resolve_milestones

CIFAR = RecipeConfig(warmup="never")


def cifar_schedule(recipe: RecipeConfig = CIFAR, iterations: int = 64000) -> Schedule:
    return Schedule(recipe, iterations, num_images=50_000)


def test_cifar_rate_is_divided_at_32k_and_48k() -> None:
    schedule = cifar_schedule()
    rates = [schedule.lr(i) for i in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_shorter_run_keeps_the_milestones_proportions() -> None:
    assert resolve_milestones(CIFAR, 600, 50_000) == [300, 450]


def test_milestones_may_be_iterations_or_epochs() -> None:
    recipe = replace(CIFAR, milestones=[1000, "10ep"])
    assert resolve_milestones(recipe, 64_000, 50_000) == [1000, 3906]


@pytest.mark.parametrize("bad", [[0.75, 0.5], [0.5, 0.5], [700], [0.5, "99ep"]])
def test_milestones_out_of_order_or_beyond_the_run_are_refused(bad: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.milestones"):
        resolve_milestones(replace(CIFAR, milestones=bad), 600, 50_000)


def test_warmup_ends_for_good_once_the_training_error_is_below_80_percent() -> None:
    schedule = cifar_schedule(replace(CIFAR, warmup="always"))
    assert schedule.lr(0) == 0.01
    assert [done for done in range(1, 151) if schedule.wants_training_error(done)] == [50, 100, 150]
    schedule.observe_training_error(80.0)
    assert schedule.lr(50) == 0.01
    schedule.observe_training_error(79.9)
    assert schedule.lr(100) == 0.1
    assert not schedule.wants_training_error(150)


def test_warmup_never_raises_the_scheduled_rate() -> None:
    schedule = cifar_schedule(replace(CIFAR, warmup="always"))
    assert schedule.lr(48_000) == pytest.approx(0.001)


def test_plateau_divides_the_rate_only_after_patience_evaluations_without_progress() -> None:
    recipe = replace(CIFAR, schedule="plateau", plateau_patience=3, plateau_threshold=0.5)
    schedule = cifar_schedule(recipe)
    rates = []
    for error in (60, 50, 49.7, 49.6, 40, 40, 39.8, 39.9, 39.9, 39.9, 39.9):
        schedule.observe_held_out_error(error)
        rates.append(round(schedule.lr(0), 6))
    assert rates == [0.1] * 7 + [0.01] * 3 + [0.001]


def test_plateau_is_looked_for_once_an_epoch() -> None:
    schedule = Schedule(replace(CIFAR, schedule="plateau"), 1000, num_images=1280)
    assert [done for done in range(1, 31) if schedule.wants_held_out_error(done)] == [10, 20, 30]


def test_a_restored_schedule_continues_where_it_stopped() -> None:
    recipe = replace(CIFAR, schedule="plateau", plateau_patience=2, warmup="always")
    schedule, restored = cifar_schedule(recipe), cifar_schedule(recipe)
    schedule.observe_training_error(70)
    for error in (50, 50, 50):
        schedule.observe_held_out_error(error)
    restored.load_state_dict(schedule.state_dict())
    for error in (50, 50, 10, 50):
        schedule.observe_held_out_error(error)
        restored.observe_held_out_error(error)
        assert schedule.lr(9) == restored.lr(9)
