"""Checkpoints. The newest complete one survives a crash; at least the last two are kept."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_degradation import __version__
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed
from resnet_degradation.records.run_folder import checkpoint_files, checkpoint_iteration
from resnet_degradation.system.errors import CheckpointError

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A run after `iteration` iterations, before the measurements due at that iteration."""

    iteration: int
    fingerprint: dict[str, Any]  # identifies the run
    parts: dict[str, Any]  # the state of each part of the run
    rows: list[list[str]]  # the record so far, as cells
    environment: dict[str, Any]  # hardware and versions, which may change the rounding of results


# The fields' names in a file: version 0.1.0 chose them.
NAMES_IN_FILE = {name: name for name in ("iteration", "parts", "rows")} | {
    "fingerprint": "belongs_to",
    "environment": "begun",
}


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep_every: int | None = None) -> Path:
    """Write a checkpoint of the run in `folder`; keep it and the previous one, delete others.

    keep_every: checkpoints at multiples of this number of iterations are kept, too.
    Returns its file. Raises OSError, and deletes nothing, if it cannot be written.
    """
    directory = folder / "checkpoints"
    directory.mkdir(exist_ok=True)  # no parents=True: do not recreate a run folder that was deleted
    stem = f"iteration-{checkpoint.iteration:09d}"
    values = {NAMES_IN_FILE[name]: value for name, value in vars(checkpoint).items()}
    file = save_checksummed(directory, stem, values)
    # Any other checkpoint at this iteration or later must be damaged, or the run would have resumed
    # from it: delete it too.
    others = [old for old in checkpoint_files(folder) if old != file]
    before = [old for old in others if checkpoint_iteration(old) < checkpoint.iteration]
    kept = {*before[: KEPT - 1], *(old for old in before if _is_kept(old, keep_every))}
    for old in set(others) - kept:
        old.unlink(missing_ok=True)
    return file


def _is_kept(file: Path, keep_every: int | None) -> bool:
    return keep_every is not None and checkpoint_iteration(file) % keep_every == 0


def kept_checkpoints(folder: Path, keep_every: int) -> Iterator[Checkpoint]:
    """The checkpoints at multiples of `keep_every`, oldest first. Warns of damaged ones."""
    for file in reversed(checkpoint_files(folder)):
        if _is_kept(file, keep_every):
            try:
                yield _read(file)
            except DamagedError as error:
                warnings.warn(f"{file} is left out, because it is damaged: {error}", stacklevel=2)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if the run has no checkpoints.

    Warns of damaged ones. Raises CheckpointError if all are damaged, or another version wrote one.
    """
    files = checkpoint_files(folder)
    for number, file in enumerate(files):
        try:
            return _read(file)
        except DamagedError as error:
            more_left = number + 1 < len(files)
            outcome = "resuming from the previous one" if more_left else "none is left"
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
        raise other_version(file.parents[1])
    if values["iteration"] != checkpoint_iteration(file):
        raise DamagedError(f"it contains iteration {values['iteration']}, not the one in its name")
    return Checkpoint(**{name: values[in_file] for name, in_file in NAMES_IN_FILE.items()})


def other_version(folder: Path) -> CheckpointError:
    """The error to raise for checkpoints written by another version."""
    return CheckpointError(
        f"the checkpoints in {folder} were written by another version of resnet-degradation than "
        f"this one, {__version__}: use the version that made the run, or move {folder} away to "
        "start over"
    )


def first_difference(
    before: dict[str, Any], now: dict[str, Any], default: str = "its default"
) -> str | None:
    """The first key by which two runs differ, with both values; None if they are equal.

    default: shown in place of the value for the run that lacks the key.
    """
    for key in now | before:
        old, new = before.get(key, default), now.get(key, default)
        if old != new:
            return f"{key} was {old} and is now {new}"
    return None
