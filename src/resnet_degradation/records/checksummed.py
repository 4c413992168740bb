"""Tensors in files that carry the checksum of their content in their name, as torch.hub's do.

So a file cannot be complete without its checksum, and one bit that differs is noticed.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.system.atomic_files import atomic_write


class DamagedError(Exception):
    """A file whose content is not what its name says, or is nothing that may be loaded."""


def save_checksummed(folder: Path, stem: str, value: Any) -> Path:
    """Write what torch.save makes of `value` to <folder>/<stem>-<checksum>.pt, whole or not at all.

    Returns the file. Raises OSError.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    content = buffer.getbuffer()
    file = folder / f"{stem}-{_checksum(content)}.pt"
    with atomic_write(file, "wb") as stream:
        stream.write(content)
    return file


def load_checksummed(file: Path) -> Any:
    """The value in a file that `save_checksummed` wrote, on the CPU; code in it is never executed.

    Raises DamagedError for any other file, PermissionError for one that may not be read.
    """
    try:
        content = file.read_bytes()
    except PermissionError:
        raise
    except OSError as error:
        raise DamagedError(f"{error.strerror}") from error
    if not content:
        raise DamagedError("it is empty")
    if _checksum(content) != file.stem.rpartition("-")[2]:
        raise DamagedError("its content does not have the checksum in its name")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError("it holds something else than tensors and numbers") from error


def _checksum(content: bytes | memoryview) -> str:
    """The first 64 bits of the SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:16]
