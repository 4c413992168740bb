"""Does depth help, and do shortcuts? Computed from final training errors, whatever the result."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev, variance
from typing import Any

# Of the normal distribution: it bounds 95 %.
NORMAL_QUANTILE = 1.96

# The rule in short, for reports; docs/studies.md has its reasons.
RULE = (
    "A difference is reported only if it is larger than its noise. Noise is the larger of two: "
    "1.96 standard errors of counting wrong answers among finitely many images, and the standard "
    "error over the seeds times the quantile that bounds 95 % of Student's t distribution, with "
    "Welch's degrees of freedom."
)


@dataclass(frozen=True)
class Spread:
    """The standard deviation of final errors over seeds, in points, and its degrees of freedom."""

    deviation: float
    degrees: float


def pooled_spread(nets: Iterable[list[float]]) -> Spread | None:
    """The spread over seeds pooled over nets, by their final errors; None if none has two seeds.

    degrees: one less than its seeds for each net.
    """
    several = [errors for errors in nets if len(errors) > 1]
    if not several:
        return None
    degrees = sum(len(errors) - 1 for errors in several)
    squares = sum((len(errors) - 1) * variance(errors) for errors in several)
    return Spread(math.sqrt(squares / degrees), degrees)


def welch_spread(first: list[float], second: list[float]) -> Spread | None:
    """The spread over seeds of two nets with as many seeds each; None where they have one.

    deviation: the root of the mean of both variances. degrees: those of Welch's test, which does
    not assume that both nets spread alike: n - 1 if one does not spread, 2 (n - 1) if they do.
    """
    if len(first) < 2:
        return None
    one, other = variance(first), variance(second)
    degrees = float(2 * (len(first) - 1))
    if one + other > 0:
        degrees = (len(first) - 1) * (one + other) ** 2 / (one**2 + other**2)
    return Spread(math.sqrt((one + other) / 2), degrees)


@dataclass(frozen=True)
class Comparison:
    """Final training error of net `second` minus that of `first`, in points, seed by seed.

    counting: the standard error of the mean difference from counting wrong answers among finitely
    many images, in points.
    spread: that of each net over seeds; None where it is unknown.
    """

    first: str
    second: str
    differences: list[float]
    counting: float
    spread: Spread | None

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return mean(self.differences)

    @property
    def threshold(self) -> float:
        """The size from which on the mean difference stands out of the noise; see RULE."""
        of_counting = NORMAL_QUANTILE * self.counting
        if self.spread is None:
            return of_counting
        from scipy import stats

        standard_error = self.spread.deviation * math.sqrt(2 / len(self.differences))
        quantile = float(stats.t.ppf(0.975, self.spread.degrees))
        return max(of_counting, quantile * standard_error)

    @property
    def outcome(self) -> str:
        """Whether `second` trains "worse", "better", or "alike" as far as the noise can tell."""
        if abs(self.mean) <= self.threshold:
            return "alike"
        return "worse" if self.mean > 0 else "better"

    def arithmetic(self) -> str:
        """The difference, its spread over the seeds, and what it is measured against."""
        num_seeds = len(self.differences)
        spread = f" ± {stdev(self.differences):.2f}" if num_seeds > 1 else ""
        seeds = {
            1: "one seed",
            2: "two seeds, which estimate the spread poorly: three are far better",
        }.get(num_seeds, f"{num_seeds} seeds")
        return (
            f"{self.second} minus {self.first}: {self.mean:+.2f}{spread} points of training error "
            f"({seeds}; noise up to {self.threshold:.2f})"
        )

    def reservation(self) -> str:
        """What has to be said before the outcome where it is that of one run; else empty."""
        if len(self.differences) > 1:
            return ""
        if self.spread is None:
            return "in this one run, with an unknown spread over seeds, "
        return (
            "in this one run, with an unknown spread over seeds, for which that of the study's "
            f"other nets is taken ({self.spread.deviation:.2f} points, degrees of freedom: "
            f"{self.spread.degrees:g}), "
        )


def depth_verdict(comparison: Comparison) -> str:
    """What the comparison of a deep net (second) with a shallow one says."""
    return _sentence(
        comparison,
        worse="the deeper net trains worse: degradation",
        better="the deeper net trains better: no degradation",
        alike="there is no difference beyond the noise: no degradation seen",
    )


def shortcut_verdict(comparison: Comparison, cured: bool) -> str:
    """What the comparison of a residual net (second) with its plain counterpart says.

    cured: depth makes the plain net train worse, and the residual net not.
    """
    return _sentence(
        comparison,
        worse="the residual net trains worse",
        better="the shortcuts cure it" if cured else "the residual net trains better",
    )


def twin_verdict(comparison: Comparison, twin: str) -> str:
    """What the comparison of a net (second) with a twin, by shortcut option A or the like, says."""
    return _sentence(
        comparison,
        worse=f"it trains worse than {twin}",
        better=f"it trains better than {twin}",
    )


def extended_verdict(comparison: Comparison) -> str:
    """What it says that a net (second) began with a solution, compared with one that did not."""
    return _sentence(
        comparison,
        worse="it ends worse than training from scratch",
        better="a better solution exists than training from scratch found",
    )


def constructed_verdict(facts: dict[str, Any], seed: int) -> str:
    """What a run's extension.json says: that a deep net can do what a shallow one does."""
    deep, shallow = facts["deep"], facts["shallow"]
    held_out = ", ".join(
        f"{name} error {deep['held_out_errors'][name]:.2f} % and {error:.2f} %"
        for name, error in shallow["held_out_errors"].items()
    )
    return (
        f"{facts['deep_net']} (seed {seed}) at its beginning, and {facts['shallow_net']}, in "
        f"evaluation mode: training error {deep['train_error']:.2f} % and "
        f"{shallow['train_error']:.2f} % on the same {facts['num_train_images']:,} images, "
        f"{held_out}; their scores, of up to {facts['largest_score']:.1f}, differ by at most "
        f"{facts['largest_difference']:.0e}"
    )


def _sentence(
    comparison: Comparison,
    worse: str,
    better: str,
    alike: str = "there is no difference beyond the noise",
) -> str:
    said = {"worse": worse, "better": better, "alike": alike}
    return f"{comparison.arithmetic()}: {comparison.reservation()}{said[comparison.outcome]}"


def counting_noise(error: float, num_images: int) -> float:
    """The standard error in points of an error (percent) counted on `num_images` images."""
    # One wrong answer at the least, or an error of zero would have no noise.
    share = min(max(error / 100, 1 / num_images), 1 - 1 / num_images)
    return 100 * math.sqrt(share * (1 - share) / num_images)


def compare(
    first: str,
    second: str,
    first_errors: list[float],
    second_errors: list[float],
    num_images: int,
    others: Spread | None = None,
) -> Comparison:
    """Compare two nets by their final training errors (percent), seed by seed.

    num_images: how many training images each error was counted on.
    others: the spread over all nets of the study, for a comparison over a single seed.
    """
    pairs = list(zip(first_errors, second_errors, strict=True))
    differences = [b - a for a, b in pairs]
    counted = [
        math.hypot(counting_noise(a, num_images), counting_noise(b, num_images)) for a, b in pairs
    ]
    counting = mean(counted) / math.sqrt(len(pairs))
    spread = welch_spread(first_errors, second_errors) or others
    return Comparison(first, second, differences, counting, spread)
