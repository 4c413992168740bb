"""One process at a time on a run."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from resnet_degradation.errors import UserError

# What a killed process started holds its lock until it notices, within some seconds.
GRACE = 20.0


@contextmanager
def claimed(folder: Path, output_dir: str) -> Iterator[None]:
    """Hold the run in `folder` against other processes; the system lets go when this one ends.

    What a process that is dead held is taken over. Raises UserError, naming host and process of
    the holder, if another process has it.
    """
    locks = Path(output_dir) / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    name = f"{folder.parent.name}-{folder.name}"
    lock, holder = FileLock(locks / f"{name}.lock"), locks / f"{name}.holder"
    _acquire(lock, folder, holder)
    try:
        holder.write_text(f"{os.getpid()} {socket.gethostname()}")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, holder: Path) -> None:
    deadline = time.monotonic() + GRACE
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            number, _, host = holder.read_text().partition(" ") if holder.is_file() else ("",) * 3
            if not _is_dead(number, host) or time.monotonic() > deadline:
                known = f"process {number} on {host}" if number else "another process"
                raise UserError(
                    f"{folder} is being trained by {known}: wait for it, or end it, and repeat"
                ) from error
            time.sleep(0.2)
        else:
            return


def _is_dead(number: str, host: str) -> bool:
    """Whether the process of this number is known to have ended."""
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is another user's
    return False
