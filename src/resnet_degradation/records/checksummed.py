"""Files of tensors whose names end with a checksum of the content, as in torch.hub.

Loading detects any change of the content, such as a truncated file or a flipped bit.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.system.atomic_files import atomic_write


class DamagedError(Exception):
    """A file's content does not match its name, or is not safe to load."""


def save_checksummed(folder: Path, stem: str, value: Any) -> Path:
    """Save `value` atomically with torch.save, and return the path, <folder>/<stem>-<checksum>.pt.

    Raises OSError if the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    content = buffer.getbuffer()
    file = folder / f"{stem}-{_checksum(content)}.pt"
    with atomic_write(file, "wb") as stream:
        stream.write(content)
    return file


def load_checksummed(file: Path) -> Any:
    """Load a file of `save_checksummed` onto the CPU, without executing pickled code.

    Raises DamagedError for any other file, PermissionError for one without read permission.
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
        raise DamagedError("its content does not match the checksum in its name")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError("it contains more than tensors and numbers") from error


def _checksum(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
