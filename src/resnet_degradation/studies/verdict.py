"""Verdicts on whether depth and shortcuts help, computed from final training errors."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev, variance
from typing import NamedTuple

# 95 % of a normal distribution lie within this many standard deviations.
NORMAL_QUANTILE = 1.96

# The rule in short, for reports; docs/studies.md explains it.
RULE = (
    "A difference is reported only if it is larger than its noise. Noise is the larger of two: "
    "1.96 standard errors of counting wrong answers among finitely many images, and the standard "
    "error over the seeds times the quantile that bounds 95 % of Student's t distribution, with "
    "Welch's degrees of freedom."
)

# The text of a verdict by the outcome of a comparison. The second net is the deep one, the
# residual one, or the one that extends another.
Wording = Mapping[str, str]
ALIKE = {"alike": "there is no difference beyond the noise"}
DEPTH = {
    "worse": "the deeper net trains worse: degradation",
    "better": "the deeper net trains better: no degradation",
    "alike": "there is no difference beyond the noise: no degradation seen",
}
RESIDUAL = ALIKE | {
    "worse": "the residual net trains worse",
    "better": "the residual net trains better",
}
CURE = RESIDUAL | {"better": "the shortcuts cure it"}
EXTENSION = ALIKE | {
    "worse": "it ends worse than training from scratch",
    "better": "training from scratch missed a better solution",
}


def twin_wording(twin: str) -> Wording:
    """The texts of a verdict on a net and its twin, such as the one with shortcut option A."""
    return ALIKE | {
        "worse": f"it trains worse than {twin}",
        "better": f"it trains better than {twin}",
    }


class Spread(NamedTuple):
    """The standard deviation of final errors over seeds, in points, and its degrees of freedom."""

    deviation: float
    degrees: float


def pooled_spread(errors_by_net: Iterable[list[float]]) -> Spread | None:
    """The spread of final errors over seeds, pooled over nets; None if no net has two seeds."""
    several = [errors for errors in errors_by_net if len(errors) > 1]
    if not several:
        return None
    degrees = sum(len(errors) - 1 for errors in several)
    squares = sum((len(errors) - 1) * variance(errors) for errors in several)
    return Spread(math.sqrt(squares / degrees), degrees)


def welch_spread(first: list[float], second: list[float]) -> Spread:
    """The spread over seeds of two nets with equally many seeds, at least two.

    deviation: the root of the mean of both variances. degrees: the degrees of freedom of Welch's
    test, which does not assume equal variances: from n - 1 (if one net does not vary) to 2 (n - 1)
    (if both vary equally).
    """
    one, other = variance(first), variance(second)
    degrees = float(2 * (len(first) - 1))
    if one + other > 0:
        degrees = (len(first) - 1) * (one + other) ** 2 / (one**2 + other**2)
    return Spread(math.sqrt((one + other) / 2), degrees)


@dataclass(frozen=True)
class Comparison:
    """Two nets, compared by final training error (second minus first, in points, seed by seed).

    threshold: the noise; a mean difference above it counts as a difference (see RULE).
    spread: the spread of both nets over seeds; None if it is unknown.
    """

    first: str
    second: str
    differences: list[float]
    threshold: float
    spread: Spread | None

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return mean(self.differences)

    @property
    def outcome(self) -> str:
        """Whether `second` trains "worse", "better", or "alike" within the noise."""
        if abs(self.mean) <= self.threshold:
            return "alike"
        return "worse" if self.mean > 0 else "better"

    def verdict(self, wording: Wording) -> str:
        """The difference, its noise and the outcome, in one sentence."""
        num_seeds, deviation, noise_note = len(self.differences), "", ""
        if num_seeds == 1:
            seeds = "one seed"
            noise_note = "in this one run, with an unknown spread over seeds, "
            if self.spread is not None:
                noise_note = (
                    "with one seed only, and with the spread of the study's nets that have several "
                    f"({self.spread.deviation:.2f} points, degrees of freedom: "
                    f"{self.spread.degrees:g}), "
                )
        else:
            deviation, seeds = f" ± {stdev(self.differences):.2f}", f"{num_seeds} seeds"
            if num_seeds == 2:
                seeds = "two seeds, which estimate the spread poorly: three are far better"
        return (
            f"{self.second} minus {self.first}: {self.mean:+.2f}{deviation} points of training "
            f"error ({seeds}; noise up to {self.threshold:.2f}): "
            f"{noise_note}{wording[self.outcome]}"
        )


def counting_noise(error: float, num_images: int) -> float:
    """The standard error in points of an error (percent) counted on `num_images` images."""
    # Assume at least one wrong answer; otherwise an error of zero would have no noise.
    share = min(max(error / 100, 1 / num_images), 1 - 1 / num_images)
    return 100 * math.sqrt(share * (1 - share) / num_images)


def compare(
    first: str,
    second: str,
    first_errors: list[float],
    second_errors: list[float],
    num_images: int,
    pooled: Spread | None = None,
) -> Comparison:
    """Compare the mean final training errors (percent) of two nets, listed in the same seed order.

    The test is unpaired.

    num_images: how many training images each error was counted on.
    pooled: the spread over the nets of the study, for a comparison over a single seed.
    """
    pairs = list(zip(first_errors, second_errors, strict=True))
    noise = [math.hypot(*(counting_noise(error, num_images) for error in pair)) for pair in pairs]
    threshold = NORMAL_QUANTILE * (mean(noise) / math.sqrt(len(pairs)))
    spread = welch_spread(first_errors, second_errors) if len(pairs) > 1 else pooled
    if spread is not None:
        from scipy import stats

        standard_error = spread.deviation * math.sqrt(2 / len(pairs))
        quantile = float(stats.t.ppf(0.975, spread.degrees))
        threshold = max(threshold, quantile * standard_error)
    return Comparison(first, second, [b - a for a, b in pairs], threshold, spread)
