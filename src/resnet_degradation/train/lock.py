"""One process at a time on a run."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from resnet_degradation.errors import UserError


@contextmanager
def claimed(folder: Path, output_dir: str) -> Iterator[None]:
    """Hold the run in `folder` against other processes; the system lets go when this one ends.

    Raises UserError, naming the holder, if another process has it.
    """
    locks = Path(output_dir) / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    name = f"{folder.parent.name}-{folder.name}"
    holder = locks / f"{name}.holder"
    lock = FileLock(locks / f"{name}.lock", timeout=0)
    try:
        with lock:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
    except Timeout as error:
        held_by = holder.read_text() if holder.is_file() else "another process"
        raise UserError(
            f"{folder} is being trained by {held_by}: wait for it, or end it, and repeat"
        ) from error
