"""Checkpoints: written so that the newest complete one always survives, two generations kept."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.errors import CheckpointError
from resnet_degradation.files import replaced
from resnet_degradation.runs import checkpoint_files

KEPT = 2


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any]) -> Path:
    """Write `state` under a temporary name, flush it to the disk, rename it, drop old ones."""
    directory = folder / "checkpoints"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"iteration-{iteration:09d}.pt"
    with replaced(file, "wb") as stream:
        torch.save({"iteration": iteration, **state}, stream)
    for old in checkpoint_files(folder)[KEPT:]:
        old.unlink()
    return file


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None if there is none at all.

    A damaged one is passed over with a warning. Raises CheckpointError if all are damaged.
    """
    files = checkpoint_files(folder)
    for file in files:
        try:
            return _read(file)
        except Exception as error:
            warnings.warn(
                f"damaged checkpoint {file} ({type(error).__name__}): trying the one before it",
                stacklevel=2,
            )
    if files:
        raise CheckpointError(
            f"no checkpoint in {files[0].parent} can be read: remove {folder} to start anew"
        )
    return None


def _read(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        if (damaged := archive.testzip()) is not None:  # torch does not look at the checksums
            raise ValueError(f"wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
