"""One process at a time on a run."""

import errno
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from resnet_degradation.config.identity import run_folder, short_hash
from resnet_degradation.config.schema import Config
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import ConfigError, UserError, describe_os_error

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


# What a killed process started holds its lock until it notices, within some seconds.
GRACE = 20.0

# How file systems say that they have no locks, as some network file systems do.
NO_LOCKS = {errno.EPERM, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def run_lock(folder: Path, output_dir: str, where: str = "on") -> Iterator[None]:
    """Hold the run in `folder` against other processes; the system releases it when this one ends.

    What a dead process held is taken over. where: runtime.lock; if off, nothing is held.

    Raises UserError, naming host and process of the owner, if another process has the run;
    ConfigError where there can be no lock.
    """
    if where == "off":
        warnings.warn(
            "runtime.lock=off: nothing keeps two processes from training the same run at once, "
            "which would spoil its record",
            stacklevel=2,
        )
        yield
        return
    lock, holder = _files(folder, output_dir, where)
    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(lock.open("ab"))
            _acquire(stream, folder, holder)
            held.callback(_release, stream)
            with atomic_write(holder) as text:
                text.write(f"{os.getpid()} {socket.gethostname()}")
        except OSError as error:
            raise ConfigError(_cannot_lock(lock.parent, output_dir, where, error)) from error
        yield


def lock_owner(folder: Path, output_dir: str, where: str = "on") -> int | None:
    """The process on this machine that holds the run in `folder`, or None if none is known to."""
    lock, holder = _files(folder, output_dir, where)
    if where == "off" or not holder.is_file():
        return None
    with lock.open("ab") as stream:
        if _lock(stream):
            _release(stream)
            return None
    number, host = _read(holder)
    return int(number) if host == socket.gethostname() and not _is_dead(number, host) else None


def signal_runs(runs: list[Config], number: int) -> None:
    """Send a signal to every process on this machine that trains one of these runs."""
    for run in runs:
        if (process := lock_owner(run_folder(run), run.output_dir, run.runtime.lock)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _files(folder: Path, output_dir: str, where: str) -> tuple[Path, Path]:
    """The lock of a run, and the file that names who holds it."""
    name = f"{folder.parent.name}-{folder.name}"
    if where in ("on", "off"):
        locks = Path(output_dir) / ".locks"
    else:  # which may serve several output folders
        locks = Path(where)
        name = f"{short_hash(str(Path(output_dir).resolve()))}-{name}"
    return locks / f"{name}.lock", locks / f"{name}.holder"


def _cannot_lock(locks: Path, output_dir: str, where: str, error: OSError) -> str:
    """Why a run cannot be held, and how to train it all the same."""
    if error.errno in NO_LOCKS and error.filename is None:
        return (
            f"{locks} is on a file system without locks ({describe_os_error(error)}), which "
            "keep two processes from training the same run at once: give "
            "runtime.lock=FOLDER, a folder on another file system, or runtime.lock=off and make "
            "sure yourself that nothing else trains it"
        )
    setting = f"output_dir={output_dir}" if where == "on" else f"runtime.lock={where}"
    return f"{setting} cannot be written in ({describe_os_error(error)}): fix that, or name another"


def _lock(stream: IO[bytes]) -> bool:
    """Lock an open file, if no other process has; raises OSError where there are no locks."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:
        if sys.platform == "win32":  # which has no other word for it
            return False
        raise
    return True


def _release(stream: IO[bytes]) -> None:
    """Release the lock of a file, also where a child process has it open still."""
    if sys.platform == "win32":
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(stream, fcntl.LOCK_UN)


def _read(holder: Path) -> tuple[str, str]:
    """The number and the host of the process that a file names; empty if it names none."""
    try:
        number, _, host = holder.read_text("utf-8").partition(" ")
    except FileNotFoundError:
        return "", ""
    return number, host


def _acquire(stream: IO[bytes], folder: Path, holder: Path) -> None:
    deadline = time.monotonic() + GRACE
    while not _lock(stream):
        number, host = _read(holder)
        if not _is_dead(number, host) or time.monotonic() > deadline:
            known = f"process {number} on {host}" if number else "another process"
            raise UserError(
                f"{folder} is being trained by {known}: wait for it, or end it, and repeat"
            )
        time.sleep(0.2)


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
