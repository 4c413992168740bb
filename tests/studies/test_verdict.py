"""Verdicts are computed from final training errors, for every possible outcome."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.records.summary import FinalErrors
from resnet_degradation.studies.findings import find_cautions, find_verdicts
from resnet_degradation.studies.results import Result
from resnet_degradation.studies.verdict import (
    DEPTH_WORDING,
    RESIDUAL_WORDING,
    compare,
    counting_noise,
    pooled_spread,
    twin_wording,
)

ERRORS = st.floats(0, 100)


def test_the_verdict_is_the_difference_of_means() -> None:
    comparison = compare("plain-20", "plain-56", [4.0, 6.0, 5.0], [67.0, 59.0, 64.0], 1000)
    assert comparison.differences == [63, 53, 59]
    assert comparison.mean == pytest.approx(58.333, abs=1e-3)
    # 3.884, of 2.244 degrees of freedom, times sqrt((1 + 16.333) / 3)
    assert comparison.threshold == pytest.approx(9.336, abs=1e-3)
    said = comparison.describe(DEPTH_WORDING)
    assert said.startswith("plain-56 minus plain-20: +58.33 ± 5.03 points")
    assert "3 seeds" in said
    assert said.endswith("degradation")


@given(ERRORS, ERRORS)
def test_swapping_the_nets_swaps_the_verdict(first: float, second: float) -> None:
    one = compare("a", "b", [first], [second], 1000)
    other = compare("b", "a", [second], [first], 1000)
    assert one.mean == -other.mean
    swapped = {"worse": "better", "better": "worse", "alike": "alike"}
    assert other.outcome == swapped[one.outcome]


@given(ERRORS)
def test_equal_errors_are_alike(error: float) -> None:
    assert compare("a", "b", [error, error], [error, error], 500).outcome == "alike"


def test_seeds_that_agree_do_not_make_counting_exact() -> None:
    comparison = compare("a", "b", [10.0, 10.0], [12.0, 12.0], 1000)
    # 1.96 * sqrt((0.1 * 0.9 + 0.12 * 0.88) / 1000 / 2), in points
    assert comparison.threshold == pytest.approx(1.938, abs=1e-3)
    assert compare("a", "b", [10.0], [12.0], 1000).threshold == pytest.approx(2.741, abs=1e-3)


def outcomes(
    num_seeds: int, spread: float | tuple[float, float], means: tuple[float, float], trials: int
) -> dict[str, float]:
    """The share of each outcome for nets of these true errors (percent), by simulation.

    Each run draws its true error around its net's mean, with standard deviation `spread` (points,
    of each net where there are two),
    and then counts wrong answers among 1,408 images, as a quick study does.
    """
    rng = np.random.default_rng(num_seeds)
    deviations = np.broadcast_to(spread, 2)[:, None]
    true = np.array(means)[:, None] + deviations * rng.standard_normal((trials, 2, num_seeds))
    errors = 100 * rng.binomial(1408, np.clip(true / 100, 0, 1)) / 1408
    found = [compare("a", "b", list(a), list(b), 1408).outcome for a, b in errors]
    return {outcome: found.count(outcome) / trials for outcome in ("worse", "better", "alike")}


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize(("mean", "spread"), [(2, 0.3), (7, 1), (20, 5), (70, 0.5)])
def test_equal_nets_are_seldom_called_different(num_seeds: int, mean: float, spread: float) -> None:
    """The means and standard deviations of study=quick-seeds, study=depths and study=bottleneck."""
    shares = outcomes(num_seeds, spread, (mean, mean), trials=2000)
    assert 1 - shares["alike"] <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
    assert shares["worse"] > 0
    assert shares["better"] > 0


@pytest.mark.parametrize(("num_seeds", "difference"), [(2, 14), (3, 4.5), (5, 3)])
def test_a_large_difference_is_found(num_seeds: int, difference: float) -> None:
    """Differences relative to the spread over seeds: 1 point, and 1.2 with counting noise."""
    shares = outcomes(num_seeds, 1.0, (7, 7 + 1.2 * difference), trials=500)
    assert shares["worse"] > 0.8


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_nets_of_different_spread_are_seldom_called_different(num_seeds: int) -> None:
    """Welch's degrees of freedom: pooled ones give up to 15 %."""
    for spreads in ((1.0, 3.0), (0.1, 3.0)):
        shares = outcomes(num_seeds, spreads, (20, 20), trials=1000)
        assert 1 - shares["alike"] <= 0.065 + 3 * (0.065 * 0.935 / 1000) ** 0.5


def test_the_spread_is_pooled_over_nets_with_several_seeds() -> None:
    assert pooled_spread([[1.0], [2.0]]) is None
    spread = pooled_spread([[1.0], [4.0, 6.0], [1.0, 2.0, 6.0]])
    assert spread is not None
    assert spread.degrees == 3
    assert spread.deviation == pytest.approx(((2 + 14) / 3) ** 0.5)


def test_a_verdict_over_one_seed_says_that_it_is_of_one_run() -> None:
    for error, ending in (
        (60.0, "the deeper net trains worse: degradation"),
        (20.0, "the deeper net trains better: no degradation"),
        (40.5, "there is no difference beyond the noise: no degradation seen"),
    ):
        sentence = (
            compare("a", "b", [40.0], [error], 1000).describe(DEPTH_WORDING).rpartition(")")[2]
        )
        assert sentence == f": in this one run, with an unknown spread over seeds, {ending}"
    two = compare("a", "b", [40.0, 40.1], [60.0, 60.2], 1000).describe(twin_wording("option A"))
    assert "in this one run" not in two


def test_a_comparison_over_one_seed_takes_the_spread_of_the_studys_other_nets() -> None:
    results = [
        *(finished(20, False, error, seed) for seed, error in enumerate((4.0, 6.0, 8.0))),
        finished(56, False, 10.0),
    ]
    (verdict,) = find_verdicts(results)
    # 4.303, of 2 degrees of freedom, times a deviation of 2 times sqrt(2)
    assert "noise up to 12.17" in verdict
    assert "with one seed only, and with the spread of the study" in verdict
    assert verdict.endswith("no degradation seen")
    # Two nets that have several seeds each need no others.
    results += [finished(56, False, 10.0 + seed / 10, seed) for seed in (1, 2)]
    (verdict,) = find_verdicts(results)
    assert "noise up to 4.95" in verdict  # 4.281, of 2.01 degrees of freedom, sqrt(4.01 / 3)
    assert "in this one run" not in verdict


def test_a_verdict_contradicts_the_paper_when_the_runs_do() -> None:
    better = compare("plain-20", "plain-56", [40.0], [20.0], 1000)
    assert "the deeper net trains better" in better.describe(DEPTH_WORDING)
    worse = compare("plain-56", "ResNet-56", [20.0], [40.0], 1000)
    assert "the residual net trains worse" in worse.describe(RESIDUAL_WORDING)


def finished(
    depth: int,
    residual: bool,
    error: float,
    seed: int = 0,
    shortcut: str | None = None,
    **more: Any,
) -> Result:
    config = Config(
        depth=depth,
        residual=residual,
        seed=seed,
        shortcut=shortcut,
        data=DataConfig("digits"),
        **more,
    )
    return Result(
        resolve(config),
        Path(),
        FinalErrors(error, None, None, 1000),
        1,
        1,
        300,
        1.0,
        10,
        False,
        1.0,
        {},
    )


@pytest.mark.parametrize(
    ("plain", "residual", "said"),
    [
        ((5, 70), (2, 2), "the shortcuts cure it"),
        # The plain nets have no degradation.
        ((40, 20), (10, 10), "the residual net trains better"),
        # The residual nets have degradation, too.
        ((5, 70), (2, 40), "the residual net trains better"),
    ],
)
def test_a_cure_needs_a_disease_and_health(
    plain: tuple[float, float], residual: tuple[float, float], said: str
) -> None:
    results = [
        finished(depth, kind, error)
        for kind, errors in ((False, plain), (True, residual))
        for depth, error in zip((20, 56), errors, strict=True)
    ]
    assert find_verdicts(results)[-1].endswith(said)


def test_residual_nets_are_compared_at_depths_of_plain_nets_and_over_all_their_depths() -> None:
    errors = {(20, False): 5, (56, False): 70, (20, True): 5, (56, True): 3, (110, True): 40}
    verdicts = find_verdicts([finished(*net, error) for net, error in errors.items()])
    assert [verdict.partition(":")[0] for verdict in verdicts] == [
        "plain-56 minus plain-20",
        "ResNet-56 minus ResNet-20",
        "ResNet-110 minus ResNet-20",
        "ResNet-56 minus plain-56",
    ]
    assert verdicts[-1].endswith("the shortcuts cure it")  # at 56 layers, whatever 110 layers do


def test_nets_are_compared_over_the_seeds_that_both_have() -> None:
    results = [finished(20, False, 5, seed) for seed in (0, 1)] + [finished(56, False, 70, 1)]
    (verdict,) = find_verdicts(results)
    assert "+65.00 points" in verdict
    assert "one seed" in verdict


def test_small_differences_are_not_called_differences() -> None:
    assert compare("a", "b", [1.0], [1.2], 1472).outcome == "alike"
    assert counting_noise(50, 2500) == pytest.approx(1.0)
    assert counting_noise(0, 1000) > 0


def test_shortcut_options_are_compared_with_option_a() -> None:
    results = [finished(20, False, 30)] + [
        finished(20, True, error, shortcut=option)
        for option, error in (("A", 20.0), ("B", 10.0), ("C", 20.1))
    ]
    verdicts = find_verdicts(results)
    assert len(verdicts) == 5  # each option against the plain net, and B and C against A
    assert verdicts[-2].startswith("ResNet-20-B minus ResNet-20: -10.00 points")
    assert verdicts[-2].endswith("it trains better than option A")
    assert verdicts[-1].endswith("no difference beyond the noise")


def test_nets_of_another_shortcut_padding_are_compared_and_not_mixed() -> None:
    results = [finished(20, False, 30)] + [
        finished(20, True, error, shortcut_padding=padding)
        for padding, error in (("behind", 20.0), ("around", 10.0))
    ]
    verdicts = find_verdicts(results)
    assert len(verdicts) == 3  # each against the plain net, and one against the other
    assert verdicts[-1].startswith("ResNet-20-around minus ResNet-20: -10.00 points")
    assert verdicts[-1].endswith("it trains better than shortcut_padding=behind")


def test_bottlenecks_are_compared_with_as_many_basic_blocks_and_are_no_deeper_kind() -> None:
    results = [
        finished(34, True, 4.0, shortcut="B", family="imagenet"),
        finished(50, True, 20.0, family="imagenet"),
        finished(50, True, 16.0, width=0.975, family="imagenet"),
        finished(101, True, 1.0, family="imagenet"),
    ]
    verdicts = find_verdicts(results)
    assert [verdict.partition(":")[0] for verdict in verdicts] == [
        "ResNet-101 minus ResNet-50",
        "ResNet-50-width0.975 minus ResNet-34-B",
        "ResNet-50 minus ResNet-34-B",
    ]
    assert verdicts[1].endswith("it trains worse than basic blocks")


def test_custom_blocks_are_compared_with_basic_ones() -> None:
    own = {"block": "code:Other"}
    results = [
        *(finished(20, True, 20.0), finished(56, True, 25.0)),
        *(finished(20, True, 20.0, **own), finished(56, True, 15.0, **own)),
        finished(56, False, 60.0, **own),
    ]
    verdicts = find_verdicts(results)
    assert [verdict.partition(":")[0] for verdict in verdicts] == [
        "ResNet-56 minus ResNet-20",
        "ResNet-56-Other minus ResNet-20-Other",
        "ResNet-56-Other minus plain-56-Other",
        "ResNet-56-Other minus ResNet-56",
    ]
    assert verdicts[-1].endswith("it trains better than basic blocks")


def test_cautions_name_runs_that_cannot_be_compared() -> None:
    fine = [finished(20, False, 30), finished(56, False, 60)]
    assert find_cautions(fine) == []
    (near_chance,) = find_cautions([finished(20, False, 86), finished(56, False, 89)])
    assert "near chance (90.0 %)" in near_chance
    warm_up, warming = find_cautions(
        [*fine, replace(finished(110, True, 50), still_warming_up=True)]
    )
    assert "never for plain-20, plain-56 and always for ResNet-110" in warm_up
    (extended,) = find_cautions([*fine, finished(56, False, 2, extends=20)])
    assert extended.startswith("plain-56-from-20 began with the solution of plain-20")
    assert warming.startswith("ResNet-110 seed 0 ended while still warming up")
