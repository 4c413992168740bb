"""What is kept of what was computed about images, for the runs that follow."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from resnet_degradation.system.errors import describe_os_error


def fingerprints(paths: list[str]) -> list[tuple[str, int, int]]:
    """What tells whether files are still the same: their paths, sizes and times."""

    def fingerprint(path: str) -> tuple[str, int, int]:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return path, -1, -1  # a link that leads nowhere: reading it will say so
        return path, status.st_size, status.st_mtime_ns

    return [fingerprint(path) for path in paths]


@contextmanager
def write_if_possible() -> Iterator[None]:
    """Warn if what is to be kept cannot be written: the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        warnings.warn(
            f"cannot keep what was computed about the images ({describe_os_error(error)}): the "
            "next run computes it again",
            stacklevel=3,
        )
