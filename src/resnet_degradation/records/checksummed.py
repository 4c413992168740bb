"""Tensors in files whose names end with the checksum of their content, as torch.hub's do.

A file is never complete without its checksum, and a single changed bit is noticed.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.system.atomic_files import atomic_write


class DamagedError(Exception):
    """A file whose content does not match its name, or may not be loaded."""


def save_checksummed(folder: Path, stem: str, value: Any) -> Path:
    """Save `value` with torch.save, atomically, as <folder>/<stem>-<checksum>.pt.

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
    """The value that `save_checksummed` saved, on the CPU; code in a file is never executed.

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
        raise DamagedError("it contains more than tensors and numbers") from error


def _checksum(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
