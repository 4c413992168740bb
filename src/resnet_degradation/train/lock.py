"""One process at a time on a run."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from resnet_degradation.config import Config, run_folder
from resnet_degradation.errors import ConfigError, UserError, told
from resnet_degradation.files import replaced

# What a killed process started holds its lock until it notices, within some seconds.
GRACE = 20.0


@contextmanager
def claimed(folder: Path, output_dir: str) -> Iterator[None]:
    """Hold the run in `folder` against other processes; the system lets go when this one ends.

    What a process that is dead held is taken over. Raises UserError, naming host and process of
    the holder, if another process has it.
    """
    lock, holder = _files(folder, output_dir)
    try:
        holder.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, folder, holder)
        with replaced(holder) as stream:
            stream.write(f"{os.getpid()} {socket.gethostname()}")
    except OSError as error:
        lock.release()
        raise ConfigError(
            f"output_dir={output_dir} cannot be written in ({told(error)}): mend that, or name "
            "another"
        ) from error
    try:
        yield
    finally:
        lock.release()


def holder_of(folder: Path, output_dir: str) -> int | None:
    """The process on this machine that holds the run in `folder`, or None if there is none."""
    lock, holder = _files(folder, output_dir)
    if not holder.is_file():
        return None
    try:
        with lock.acquire(timeout=0):
            return None
    except Timeout:
        number, host = _read(holder)
        return int(number) if host == socket.gethostname() and not _is_dead(number, host) else None


def signal_runs(runs: list[Config], number: int) -> None:
    """Send a signal to every process on this machine that trains one of these runs."""
    for run in runs:
        if (process := holder_of(run_folder(run), run.output_dir)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _files(folder: Path, output_dir: str) -> tuple[FileLock, Path]:
    """The lock of a run, and the file that names who holds it."""
    file = Path(output_dir) / ".locks" / f"{folder.parent.name}-{folder.name}"
    return FileLock(f"{file}.lock"), Path(f"{file}.holder")


def _read(holder: Path) -> tuple[str, str]:
    """The number and the host of the process that a file names; empty if it names none."""
    try:
        number, _, host = holder.read_text().partition(" ")
    except FileNotFoundError:
        return "", ""
    return number, host


def _acquire(lock: FileLock, folder: Path, holder: Path) -> None:
    deadline = time.monotonic() + GRACE
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            number, host = _read(holder)
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
    if host != socket.gethostname() or not number.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is another user's
    return False
