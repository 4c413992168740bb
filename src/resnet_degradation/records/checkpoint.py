"""Saves and loads checkpoints. At least the last two are kept, in case one is damaged."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_degradation import __version__
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed
from resnet_degradation.records.run_folder import checkpoint_files, checkpoint_iteration
from resnet_degradation.system.errors import CheckpointError

NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `iteration` iterations, before any measurement at that point."""

    iteration: int
    fingerprint: dict[str, Any]  # identifies the run
    parts: dict[str, Any]  # the state of each part of the run
    rows: list[list[str]]  # the cells of metrics.csv so far
    environment: dict[str, Any]  # hardware and versions, which may affect rounding


# Field name -> key in the file, unchanged since version 0.1.0.
NAMES_IN_FILE = {name: name for name in ("iteration", "parts", "rows")} | {
    "fingerprint": "belongs_to",
    "environment": "begun",
}


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep_every: int | None = None) -> Path:
    """Write a checkpoint of the run in `folder`, delete all but the last two, and return its path.

    keep_every: also keep checkpoints at multiples of this number of iterations.
    Raises OSError, and deletes nothing, if the checkpoint cannot be written.
    """
    directory = folder / "checkpoints"
    directory.mkdir(exist_ok=True)  # no parents=True: do not recreate a deleted run folder
    stem = f"iteration-{checkpoint.iteration:09d}"
    values = {NAMES_IN_FILE[name]: value for name, value in vars(checkpoint).items()}
    file = save_checksummed(directory, stem, values)
    # Delete other checkpoints at this iteration or later, too. They must be damaged, because the
    # run would otherwise have resumed from them.
    others = [old for old in checkpoint_files(folder) if old != file]
    earlier = [old for old in others if checkpoint_iteration(old) < checkpoint.iteration]
    kept = {*earlier[: NUM_KEPT - 1], *(old for old in earlier if _is_kept(old, keep_every))}
    for old in set(others) - kept:
        old.unlink(missing_ok=True)
    return file


def _is_kept(file: Path, keep_every: int | None) -> bool:
    return keep_every is not None and checkpoint_iteration(file) % keep_every == 0


def load_kept_checkpoints(folder: Path, keep_every: int) -> Iterator[Checkpoint]:
    """Load the checkpoints at multiples of `keep_every`, oldest first; warn about damaged ones."""
    for file in reversed(checkpoint_files(folder)):
        if _is_kept(file, keep_every):
            try:
                yield _read(file)
            except DamagedError as error:
                warnings.warn(f"{file} is damaged and was skipped: {error}", stacklevel=2)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Load the newest undamaged checkpoint; return None if the run has no checkpoints.

    Warns about damaged checkpoints. Raises CheckpointError if all are damaged, or if another
    version of this package wrote one.
    """
    files = checkpoint_files(folder)
    for number, file in enumerate(files):
        try:
            return _read(file)
        except DamagedError as error:
            has_previous = number + 1 < len(files)
            outcome = "resuming from the previous one" if has_previous else "none is left"
            warnings.warn(f"damaged checkpoint {file}: {error}; {outcome}", stacklevel=2)
    if files:
        raise CheckpointError(
            f"no checkpoint in {files[0].parent} can be read: move that folder away to start over"
        )
    return None


def _read(file: Path) -> Checkpoint:
    values = load_checksummed(file)
    if not isinstance(values, dict) or "iteration" not in values:
        raise DamagedError("not a checkpoint")
    if values.keys() != set(NAMES_IN_FILE.values()):
        raise other_version_error(file.parents[1])
    if values["iteration"] != checkpoint_iteration(file):
        raise DamagedError(f"it contains iteration {values['iteration']}, not the one in its name")
    return Checkpoint(**{name: values[in_file] for name, in_file in NAMES_IN_FILE.items()})


def other_version_error(folder: Path) -> CheckpointError:
    """Make the error for checkpoints that another version wrote."""
    return CheckpointError(
        f"the checkpoints in {folder} were written by another version of resnet-degradation than "
        f"this one, {__version__}: use the version that made the run, or move {folder} away to "
        "start over"
    )


def describe_first_difference(
    old: dict[str, Any], new: dict[str, Any], default: str = "its default"
) -> str | None:
    """Describe the first difference between two dictionaries; return None if they are equal.

    default: describes the value of a missing key.
    """
    for key in new | old:
        old_value, new_value = old.get(key, default), new.get(key, default)
        if old_value != new_value:
            return f"{key} was {old_value} and is now {new_value}"
    return None
