"""Does depth help, and do shortcuts? Computed from final training errors, said as it came out."""

import math
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class Comparison:
    """Final training error of net `second` minus that of `first`, in points, seed by seed.

    `noise` is the standard error of the mean difference: over the seeds, or, where that is
    smaller or there is one seed, from counting wrong answers among finitely many images. The mean
    is called a difference if it is larger than `threshold`: the noise times the quantile that
    bounds 95 % of Student's t distribution, or of the normal one where there is one seed.
    """

    first: str
    second: str
    differences: list[float]
    noise: float

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return mean(self.differences)

    @property
    def threshold(self) -> float:
        """The size from which on the mean difference stands out of the noise."""
        from scipy import stats

        num_seeds = len(self.differences)
        quantile = stats.t.ppf(0.975, num_seeds - 1) if num_seeds > 1 else stats.norm.ppf(0.975)
        return float(quantile) * self.noise

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
        seeds = f"{num_seeds} seeds" if num_seeds > 1 else "one seed, spread over seeds unknown"
        return (
            f"{self.second} minus {self.first}: {self.mean:+.2f}{spread} points of training error "
            f"({seeds}; noise up to {self.threshold:.2f})"
        )


def depth_verdict(comparison: Comparison) -> str:
    """What the comparison of a deep net (second) with a shallow one says."""
    said = {
        "worse": "the deeper net trains worse: degradation",
        "better": "the deeper net trains better: no degradation",
        "alike": "no difference beyond the noise: no degradation seen",
    }
    return f"{comparison.arithmetic()}: {said[comparison.outcome]}"


def shortcut_verdict(comparison: Comparison, cured: bool) -> str:
    """What the comparison of a residual net (second) with its plain counterpart says.

    cured: depth makes the plain net train worse, and the residual net not.
    """
    better = "the shortcuts cure it" if cured else "the residual net trains better"
    said = {
        "worse": "the residual net trains worse",
        "better": better,
        "alike": "no difference beyond the noise",
    }
    return f"{comparison.arithmetic()}: {said[comparison.outcome]}"


def option_verdict(comparison: Comparison) -> str:
    """What the comparison of a residual net (second) with its twin by shortcut option A says."""
    said = {
        "worse": "it trains worse than option A",
        "better": "it trains better than option A",
        "alike": "no difference beyond the noise",
    }
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
    noise = mean(counted) / math.sqrt(len(pairs))
    if len(differences) > 1:
        noise = max(noise, stdev(differences) / math.sqrt(len(differences)))
    return Comparison(first, second, differences, noise)
