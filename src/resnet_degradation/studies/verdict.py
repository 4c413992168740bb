"""Compares nets by their final training errors: do depth and shortcuts help?"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev, variance
from typing import NamedTuple

# 95 % of a normal distribution lies within this many standard deviations of its mean.
NORMAL_QUANTILE = 1.96

# A summary of the rule for reports; docs/studies.md explains it.
RULE = (
    "A difference is reported only if it is larger than its noise. Noise is the larger of two: "
    "1.96 standard errors of counting wrong answers among finitely many images, and the standard "
    "error over the seeds times the quantile that bounds 95 % of Student's t distribution, with "
    "Welch's degrees of freedom."
)

# The text of a verdict for each outcome of a comparison. "Better" and "worse" describe the second
# net: the deeper one, the residual one, or the one that extends another.
Wording = Mapping[str, str]
ALIKE_WORDING = {"alike": "there is no difference beyond the noise"}
DEPTH_WORDING = {
    "worse": "the deeper net trains worse: degradation",
    "better": "the deeper net trains better: no degradation",
    "alike": "there is no difference beyond the noise: no degradation seen",
}
RESIDUAL_WORDING = ALIKE_WORDING | {
    "worse": "the residual net trains worse",
    "better": "the residual net trains better",
}
CURE_WORDING = RESIDUAL_WORDING | {"better": "the shortcuts cure it"}
EXTENSION_WORDING = ALIKE_WORDING | {
    "worse": "it ends worse than training from scratch",
    "better": "training from scratch missed a better solution",
}


def twin_wording(twin: str) -> Wording:
    """The wording of a verdict on a net and its twin, such as the net with shortcut option A."""
    return ALIKE_WORDING | {
        "worse": f"it trains worse than {twin}",
        "better": f"it trains better than {twin}",
    }


class Spread(NamedTuple):
    """How much final errors vary over seeds."""

    deviation: float  # standard deviation, in percentage points
    degrees: float  # degrees of freedom of the deviation


def pooled_spread(errors_by_net: Iterable[list[float]]) -> Spread | None:
    """The spread of final errors over seeds, pooled over nets; None if no net has two seeds."""
    repeated = [errors for errors in errors_by_net if len(errors) > 1]
    if not repeated:
        return None
    degrees = sum(len(errors) - 1 for errors in repeated)
    sum_of_squares = sum((len(errors) - 1) * variance(errors) for errors in repeated)
    return Spread(math.sqrt(sum_of_squares / degrees), degrees)


def welch_spread(first: list[float], second: list[float]) -> Spread:
    """The common spread of two nets with the same number of seeds, n >= 2.

    The deviation is the root of the mean variance. The degrees of freedom are those of Welch's t
    test, which does not assume equal variances. They range from n - 1, if the error of one net does
    not vary, to 2 (n - 1), if both variances are equal.
    """
    variance1, variance2 = variance(first), variance(second)
    degrees = float(2 * (len(first) - 1))
    if variance1 + variance2 > 0:
        degrees = (len(first) - 1) * (variance1 + variance2) ** 2 / (variance1**2 + variance2**2)
    return Spread(math.sqrt((variance1 + variance2) / 2), degrees)


@dataclass(frozen=True)
class Comparison:
    """A comparison of the final training errors of two nets."""

    first: str  # name of a net
    second: str
    differences: list[float]  # second minus first, in percentage points, for each seed
    threshold: float  # the noise: smaller mean differences do not count (see RULE)
    spread: Spread | None  # of both nets over seeds; None if it is unknown

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return mean(self.differences)

    @property
    def outcome(self) -> str:
        """How `second` trains: "worse", "better", or "alike" if the difference is noise."""
        if abs(self.mean) <= self.threshold:
            return "alike"
        return "worse" if self.mean > 0 else "better"

    def describe(self, wording: Wording) -> str:
        """Describe the difference, its noise and the outcome in one sentence."""
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
    """The standard error, in points, of an error in percent measured on `num_images` images."""
    # Assume at least one wrong and one right answer. Otherwise, the noise would be zero.
    fraction = min(max(error / 100, 1 / num_images), 1 - 1 / num_images)
    return 100 * math.sqrt(fraction * (1 - fraction) / num_images)


def compare(
    first: str,
    second: str,
    first_errors: list[float],
    second_errors: list[float],
    num_images: int,
    pooled: Spread | None = None,
) -> Comparison:
    """Compare the mean final training errors of two nets with an unpaired test.

    first_errors, second_errors: errors in percent, for the same seeds in the same order.
    num_images: number of training images on which each error was measured.
    pooled: the spread pooled over the nets of the study, for a comparison over a single seed.
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
