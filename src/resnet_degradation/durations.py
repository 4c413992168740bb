"""Lengths of training, given in iterations or in epochs."""

import re

from resnet_degradation.errors import ConfigError

Duration = int | str

_EPOCHS = re.compile(r"(\d+(?:\.\d+)?) ?(?:ep|epochs?)")


def parse_duration(duration: Duration, key: str) -> tuple[float, bool]:
    """The number and whether it counts epochs; raises ConfigError naming `key` if malformed."""
    if isinstance(duration, int) and not isinstance(duration, bool) and duration > 0:
        return duration, False
    if isinstance(duration, str):
        match = _EPOCHS.fullmatch(duration.strip())
        if match and float(match[1]) > 0:
            return float(match[1]), True
    raise ConfigError(
        f"{key}={duration} is no duration: give a positive number of iterations, as 64000, "
        f"or of epochs, as 90ep"
    )


def to_iterations(duration: Duration, images: int, batch_size: int, key: str) -> int:
    """`duration` in iterations, at least one, where an epoch is `images` / `batch_size` of them."""
    number, in_epochs = parse_duration(duration, key)
    return max(1, round(number * images / batch_size)) if in_epochs else int(number)
