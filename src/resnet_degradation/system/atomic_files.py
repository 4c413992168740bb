"""Writing files so that a reader finds the old content or the new, and never a part of either."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def check_writable(folder: Path) -> None:
    """Create the folder, and a temporary file in it; raises OSError if that is impossible."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def atomic_write(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A stream whose content takes the place of `file`, once it is complete and on the disk.

    If anything goes wrong, `file` stays as it was. mode: "w" for text in UTF-8 (line ends are
    written as they are), "wb" for bytes.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")  # others may write it too
    try:
        # The name of a file may hold bytes that are no text: they are written as they are.
        newline, encoding, errors = (
            (None, None, None) if "b" in mode else ("", "utf-8", "surrogateescape")
        )
        with temporary.open(mode, newline=newline, encoding=encoding, errors=errors) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
        _sync_folder(file.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(file)  # which is what matters; and writing does not tell any
        raise


def write_json(file: Path, value: Any) -> None:
    """Write a value as an indented JSON file, atomically."""
    with atomic_write(file) as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # it is no file system that can
            raise
    finally:
        os.close(descriptor)
