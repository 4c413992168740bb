"""Does depth help, and do shortcuts? Computed from final training errors, said as it came out."""

import math
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

# Of the normal distribution: it bounds 95 %.
NORMAL_QUANTILE = 1.96


@dataclass(frozen=True)
class Comparison:
    """Final training error of net `second` minus that of `first`, in points, seed by seed.

    counting: the standard error of the mean difference from counting wrong answers among finitely
    many images, in points.
    """

    first: str
    second: str
    differences: list[float]
    counting: float

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return mean(self.differences)

    @property
    def threshold(self) -> float:
        """The size from which on the mean difference stands out of the noise.

        That of counting, times 1.96; or, where that is larger, that over the n seeds: the standard
        error times the quantile that bounds 95 % of Student's t distribution with n - 1 degrees.
        """
        from scipy import stats

        of_counting = NORMAL_QUANTILE * self.counting
        num_seeds = len(self.differences)
        if num_seeds == 1:
            return of_counting
        standard_error = stdev(self.differences) / math.sqrt(num_seeds)
        return max(of_counting, float(stats.t.ppf(0.975, num_seeds - 1)) * standard_error)

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
            1: "one seed, spread over seeds unknown",
            2: "two seeds, which bound their spread badly: three do far better",
        }.get(num_seeds, f"{num_seeds} seeds")
        return (
            f"{self.second} minus {self.first}: {self.mean:+.2f}{spread} points of training error "
            f"({seeds}; noise up to {self.threshold:.2f})"
        )


def depth_verdict(comparison: Comparison) -> str:
    """What the comparison of a deep net (second) with a shallow one says."""
    return _said(
        comparison,
        worse="the deeper net trains worse: degradation",
        better="the deeper net trains better: no degradation",
        alike="no difference beyond the noise: no degradation seen",
    )


def shortcut_verdict(comparison: Comparison, cured: bool) -> str:
    """What the comparison of a residual net (second) with its plain counterpart says.

    cured: depth makes the plain net train worse, and the residual net not.
    """
    return _said(
        comparison,
        worse="the residual net trains worse",
        better="the shortcuts cure it" if cured else "the residual net trains better",
    )


def twin_verdict(comparison: Comparison, twin: str) -> str:
    """What the comparison of a net (second) with a twin, by shortcut option A or the like, says."""
    return _said(
        comparison,
        worse=f"it trains worse than {twin}",
        better=f"it trains better than {twin}",
    )


def extended_verdict(comparison: Comparison) -> str:
    """What it says that a net (second) began with a solution, compared with one that did not."""
    return _said(
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


def _said(
    comparison: Comparison,
    worse: str,
    better: str,
    alike: str = "no difference beyond the noise",
) -> str:
    said = {"worse": worse, "better": better, "alike": alike}
    return f"{comparison.arithmetic()}: {said[comparison.outcome]}"


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
) -> Comparison:
    """Compare two nets by their final training errors (percent), seed by seed.

    num_images: how many training images each error was counted on.
    """
    pairs = list(zip(first_errors, second_errors, strict=True))
    differences = [b - a for a, b in pairs]
    counted = [
        math.hypot(counting_noise(a, num_images), counting_noise(b, num_images)) for a, b in pairs
    ]
    return Comparison(first, second, differences, mean(counted) / math.sqrt(len(pairs)))
