"""Writing files so that a reader finds the old content or the new, and never a part of either."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replaced(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A stream whose content takes the place of `file`, once it is complete and on the disk.

    mode: "w" for text (line ends are written as they are), "wb" for bytes.
    """
    temporary = file.with_name(f"{file.name}.tmp")
    with temporary.open(mode, newline=None if "b" in mode else "") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
