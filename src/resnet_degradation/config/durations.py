"""Lengths of training, given in iterations or in epochs."""

import re
from decimal import Decimal

from resnet_degradation.system.errors import ConfigError

Duration = int | float | str
LONGEST = 1e9
_LENGTH = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?) ?(ep|epochs?)?")


def parse_duration(duration: Duration, key: str) -> tuple[float, bool]:
    """The number and whether it counts epochs; raises ConfigError naming `key` if malformed."""
    match = _LENGTH.fullmatch(str(duration).strip())
    if match and not isinstance(duration, bool):
        number, in_epochs = float(match[1]), match[2] is not None
        if 0 < number <= LONGEST and (in_epochs or number.is_integer()):
            return number, in_epochs
    raise ConfigError(
        f"{key}={duration} is not a duration: use a positive number of iterations, such as "
        "64000, or of epochs, such as 90ep"
    )


def is_fraction(milestone: object) -> bool:
    """Whether a milestone is a fraction of the run rather than a duration."""
    return isinstance(milestone, float) and 0 < milestone < 1


def normal_duration(duration: Duration, key: str) -> Duration:
    """The duration in its normal form: 300 for "300" and 3e2, "2ep" for "2 epochs".

    The number keeps its precision and has no exponent.
    """
    number, in_epochs = parse_duration(duration, key)
    return f"{Decimal(repr(number)).normalize():f}ep" if in_epochs else int(number)


def to_iterations(duration: Duration, images: int, batch_size: int, key: str) -> int:
    """`duration` in iterations, at least one; an epoch has `images` / `batch_size` iterations."""
    number, in_epochs = parse_duration(duration, key)
    return max(1, round(number * images / batch_size)) if in_epochs else int(number)
