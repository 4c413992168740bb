"""Durations of training, in iterations or in epochs."""

import re
from decimal import Decimal

from resnet_degradation.system.errors import ConfigError

Duration = int | float | str
MAX_DURATION = 1e9
_DURATION_PATTERN = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?) ?(ep|epochs?)?")


def parse_duration(duration: Duration, key: str) -> tuple[float, bool]:
    """Return the number and whether it counts epochs; raises ConfigError if it is malformed."""
    match = _DURATION_PATTERN.fullmatch(str(duration).strip())
    if match and not isinstance(duration, bool):
        number, in_epochs = float(match[1]), match[2] is not None
        if 0 < number <= MAX_DURATION and (in_epochs or number.is_integer()):
            return number, in_epochs
    raise ConfigError(
        f"{key}={duration} is not a duration: use a positive number of iterations, such as "
        "64000, or of epochs, such as 90ep"
    )


def is_fraction(milestone: object) -> bool:
    """Whether a milestone is a fraction of the run and not a duration."""
    return isinstance(milestone, float) and 0 < milestone < 1


def normalize_duration(duration: Duration, key: str) -> Duration:
    """Normalize a duration: "300" and 3e2 become 300, "2 epochs" becomes "2ep".

    The number keeps its precision and is written without an exponent.
    """
    number, in_epochs = parse_duration(duration, key)
    return f"{Decimal(repr(number)).normalize():f}ep" if in_epochs else int(number)


def to_iterations(duration: Duration, images: int, batch_size: int, key: str) -> int:
    """Convert a duration to iterations, at least 1. An epoch has `images` / `batch_size`."""
    number, in_epochs = parse_duration(duration, key)
    return max(1, round(number * images / batch_size)) if in_epochs else int(number)
