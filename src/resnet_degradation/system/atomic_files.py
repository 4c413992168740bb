"""Writes files so that readers find either the old content or all of the new content."""

import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from resnet_degradation.system.errors import RecordError


def check_writable(folder: Path, problem: str, advice: str) -> None:
    """Create a folder, and test that a file can be written to it.

    On failure, raises RecordError with the message "PROBLEM (CAUSE): ADVICE".
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RecordError(f"{problem} ({error.strerror}): {advice}") from error


@contextmanager
def atomic_write(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yield a stream whose content replaces `file` once it is complete and on disk.

    If writing fails, `file` is unchanged. mode: "w" for UTF-8 text (newlines are not translated),
    "wb" for bytes.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")  # other processes may write `file`
    try:
        # Text may contain file names with bytes that are not UTF-8. Write these bytes unchanged.
        newline, encoding, errors = (
            (None, None, None) if "b" in mode else ("", "utf-8", "surrogateescape")
        )
        with temporary.open(mode, newline=newline, encoding=encoding, errors=errors) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _replace(temporary, file)
        _sync_folder(file.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(file)  # do not name the temporary file
        raise


def write_json(file: Path, value: Any) -> None:
    """Write a value as an indented JSON file, atomically."""
    with atomic_write(file) as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")


def _replace(temporary: Path, file: Path) -> None:
    """Rename `temporary` to `file`, replacing it.

    On Windows this fails while another process has `file` open, so retry for up to two seconds.
    """
    for _ in range(20 if os.name == "nt" else 0):
        with suppress(PermissionError):
            temporary.replace(file)
            return
        time.sleep(0.1)
    temporary.replace(file)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, if the system supports this."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by this file system
            raise
    finally:
        os.close(descriptor)
