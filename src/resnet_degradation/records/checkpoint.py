"""Checkpoints: the newest complete one always survives, and two generations are kept."""

import warnings
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
    """A run after `iteration` iterations, before anything that is then due is measured."""

    iteration: int
    fingerprint: dict[str, Any]  # what identifies its run
    parts: dict[str, Any]  # the state of each part of the run
    rows: list[list[str]]  # the record so far, as cells
    environment: dict[str, Any]  # hardware and versions, which may change the rounding of results


# The names of the fields in a file, which are those of version 0.1.0.
NAMES_IN_FILE = {name: name for name in ("iteration", "parts", "rows")} | {
    "fingerprint": "belongs_to",
    "environment": "begun",
}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of the run in `folder`, and delete all but it and the one before.

    Returns its file. Raises OSError, and keeps the others, if it cannot be written.
    """
    directory = folder / "checkpoints"
    directory.mkdir(exist_ok=True)  # but not the run's own folder, if that was deleted
    stem = f"iteration-{checkpoint.iteration:09d}"
    values = {NAMES_IN_FILE[name]: value for name, value in vars(checkpoint).items()}
    file = save_checksummed(directory, stem, values)
    # Others of this or a later iteration are damaged: this run did not resume from them.
    others = [old for old in checkpoint_files(folder) if old != file]
    before = [old for old in others if checkpoint_iteration(old) < checkpoint.iteration]
    for old in set(others) - set(before[: KEPT - 1]):
        old.unlink(missing_ok=True)
    return file


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if there is none at all.

    Warns of damaged ones. Raises CheckpointError if all are damaged, or one is of another version.
    """
    files = checkpoint_files(folder)
    for number, file in enumerate(files):
        try:
            return _read(file)
        except DamagedError as error:
            then = "resuming from the one before" if number + 1 < len(files) else "none is left"
            warnings.warn(f"damaged checkpoint {file}: {error}; {then}", stacklevel=2)
    if files:
        raise CheckpointError(
            f"no checkpoint in {files[0].parent} can be read: move that folder away to start anew"
        )
    return None


def _read(file: Path) -> Checkpoint:
    values = load_checksummed(file)
    if not isinstance(values, dict) or "iteration" not in values:
        raise DamagedError("it is no checkpoint")
    if values.keys() != set(NAMES_IN_FILE.values()):
        raise other_version(file.parents[1])
    if values["iteration"] != checkpoint_iteration(file):
        raise DamagedError(f"it is of iteration {values['iteration']}")
    return Checkpoint(**{name: values[in_file] for name, in_file in NAMES_IN_FILE.items()})


def other_version(folder: Path) -> CheckpointError:
    """The error of checkpoints in a run folder that another version wrote."""
    return CheckpointError(
        f"the checkpoints in {folder} were written by another version of resnet-degradation than "
        f"this one, {__version__}: use the version that made the run, or move {folder} away to "
        "start anew"
    )


def first_difference(
    there: dict[str, Any], here: dict[str, Any], default: str = "its default"
) -> str | None:
    """The first key by which two runs differ, with both values; None if they are equal.

    default: the word for a value that only one of them has.
    """
    for key in here | there:
        one, other = there.get(key, default), here.get(key, default)
        if one != other:
            return f"{key} is {one} there and {other} here"
    return None
