"""Checkpoints: written so that the newest complete one always survives, two generations kept."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_degradation import __version__
from resnet_degradation.records.checksummed import DamagedError, load_checksummed, save_checksummed
from resnet_degradation.records.run_folder import checkpoint_files, checkpoint_iteration, made_by
from resnet_degradation.system.errors import CheckpointError

KEPT = 2

# Fields that files name as version 0.1.0 did.
IN_FILE = {"fingerprint": "belongs_to", "environment": "begun"}


@dataclass(frozen=True)
class Checkpoint:
    """A run after `iteration` updates, and before anything that is then due is measured of it."""

    iteration: int
    fingerprint: dict[str, Any]  # what tells its run from others, by name
    parts: dict[str, Any]  # the state of each part of the run, by name
    rows: list[list[str]]  # the record so far, as cells
    environment: dict[str, Any]  # where it was begun: what may change the rounding of results


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of the run in `folder`, and drop all but it and the one before.

    Returns its file. Raises OSError, and leaves the others as they are, if it cannot be written.
    """
    directory = folder / "checkpoints"
    directory.mkdir(exist_ok=True)  # but not the run's own folder, if that was taken away
    stem = f"iteration-{checkpoint.iteration:09d}"
    values = {IN_FILE.get(name, name): value for name, value in vars(checkpoint).items()}
    file = save_checksummed(directory, stem, values)
    # Others of this iteration or a later one were passed over as damaged.
    others = [old for old in checkpoint_files(folder) if old != file]
    before = [old for old in others if checkpoint_iteration(old) < checkpoint.iteration]
    for old in set(others) - set(before[: KEPT - 1]):
        old.unlink(missing_ok=True)
    return file


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None if there is none at all.

    A damaged one is passed over with a warning. Raises CheckpointError if all are damaged, or one
    is of another version.
    """
    files = checkpoint_files(folder)
    for number, file in enumerate(files):
        try:
            return _read(file)
        except DamagedError as error:
            then = "going on from the one before" if number + 1 < len(files) else "none is left"
            warnings.warn(f"damaged checkpoint {file}: {error}; {then}", stacklevel=2)
    if files:
        raise CheckpointError(
            f"no checkpoint in {files[0].parent} can be read: move that folder away to start anew"
        )
    return None


def _read(file: Path) -> Checkpoint:
    loaded = load_checksummed(file)
    kinds = {
        "iteration": int,
        "fingerprint": dict,
        "parts": dict,
        "rows": list,
        "environment": dict,
    }
    if not isinstance(loaded, dict) or "iteration" not in loaded:
        raise DamagedError("it is no checkpoint")
    if loaded.keys() != {IN_FILE.get(name, name) for name in kinds}:
        raise other_version(file.parents[1])
    checkpoint = Checkpoint(**{name: loaded[IN_FILE.get(name, name)] for name in kinds})
    if not all(isinstance(getattr(checkpoint, n), kind) for n, kind in kinds.items()):
        raise DamagedError("it is no checkpoint")
    if checkpoint.iteration != checkpoint_iteration(file):
        raise DamagedError(f"it is of iteration {checkpoint.iteration}")
    return checkpoint


def other_version(folder: Path) -> CheckpointError:
    """The error of checkpoints in a run folder that hold other things than this version's."""
    return CheckpointError(
        f"the checkpoints in {folder} were written by another version of resnet-degradation than "
        f"this one, {__version__}: use the version that made the run{made_by(folder)}, or move "
        f"{folder} away to start anew"
    )


def first_difference(
    there: dict[str, Any], here: dict[str, Any], default: str = "its default"
) -> str | None:
    """In what one run first differs from another, in words, or None if it does not.

    default: what is said of something that only one of them knows.
    """
    for key in here | there:
        one, other = there.get(key, default), here.get(key, default)
        if one != other:
            return f"{key} is {one} there and {other} here"
    return None
