"""Does depth help, and do shortcuts? Computed from final training errors, said as it came out."""

import math
from dataclasses import dataclass
from statistics import mean, stdev

# A difference is called one if it is larger than this many times its noise.
CLEAR = 2.0


@dataclass(frozen=True)
class Comparison:
    """Final training error of net `second` minus that of `first`, in points, seed by seed.

    `noise` is the standard error of the mean difference: over the seeds, or, where that is
    smaller or there is one seed, from counting wrong answers among finitely many images.
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
    def outcome(self) -> str:
        """Whether `second` trains "worse", "better", or "alike" as far as the noise can tell."""
        if abs(self.mean) <= CLEAR * self.noise:
            return "alike"
        return "worse" if self.mean > 0 else "better"

    def arithmetic(self) -> str:
        """The difference, its noise and the number of seeds."""
        num_seeds = len(self.differences)
        return (
            f"{self.second} minus {self.first}: {self.mean:+.2f} points of training error "
            f"(noise {self.noise:.2f}, {num_seeds} seed{'s' if num_seeds > 1 else ''})"
        )


def depth_verdict(comparison: Comparison) -> str:
    """What the comparison of a deep net (second) with a shallow one says."""
    said = {
        "worse": "the deeper net trains worse: degradation",
        "better": "the deeper net trains better: no degradation",
        "alike": "no difference beyond the noise: no degradation seen",
    }
    return f"{comparison.arithmetic()}: {said[comparison.outcome]}"


def shortcut_verdict(comparison: Comparison) -> str:
    """What the comparison of a residual net (second) with its plain counterpart says."""
    said = {
        "worse": "the shortcuts make it train worse",
        "better": "the shortcuts cure it",
        "alike": "no difference beyond the noise: the shortcuts change nothing",
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
