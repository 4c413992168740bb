"""A cache in the output folder for results computed from images."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from resnet_degradation.config.schema import Config
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed
from resnet_degradation.system.errors import describe_os_error


def cache_folder(config: Config) -> Path:
    """Return the folder that caches results computed from images."""
    return Path(config.output_dir) / ".cache"


def cache_key(paths: list[str], *options: int) -> str:
    """Return a digest of the options and the files' paths, sizes and modification times."""

    def describe(path: str) -> tuple[str, int, int]:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return path, -1, -1  # a broken link: reading it will fail
        return path, status.st_size, status.st_mtime_ns

    facts = json.dumps([*options, *map(describe, paths)])
    return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()


def load_or_compute(folder: Path, name: str, compute: Callable[[], Any]) -> Any:
    """Return the result load_or_compute as `name` in `folder`, or else compute and cache it.

    A result may consist of tensors, numbers, strings, lists and dictionaries. Warns if it cannot
    be written.
    """
    for file in folder.glob(f"{name}-*.pt"):
        try:
            return load_checksummed(file)
        except DamagedError:
            with suppress(OSError):
                file.unlink()
        except PermissionError:
            continue  # another user's file: keep it
    result = compute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_checksummed(folder, name, result)
    except OSError as error:
        warnings.warn(
            f"cannot cache results computed from the images ({describe_os_error(error)}): the next "
            "run will compute them again",
            stacklevel=3,
        )
    return result
