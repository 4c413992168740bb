"""Locks that keep two processes from training the same run at once."""

import errno
import os
import socket
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
from resnet_degradation.system.file_locks import try_lock, unlock

# How long to wait for the lock of a killed process. Its child processes hold the lock until they
# notice its end, which takes a few seconds.
GRACE_SECONDS = 20.0

# Error numbers of file systems that do not support locks, such as some network file systems.
LOCKS_UNSUPPORTED = {
    *(errno.EPERM, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL),
}


@contextmanager
def run_lock(folder: Path, output_dir: str, setting: str = "on") -> Iterator[None]:
    """Lock the run in `folder`; the operating system releases the lock when this process ends.

    setting: the value of runtime.lock: "on", "off" (no lock) or a folder for the locks.

    Raises UserError if another process holds the lock; the message names this process and its host.
    Raises ConfigError if the lock cannot be created.
    """
    if setting == "off":
        warnings.warn(
            "runtime.lock=off: nothing keeps two processes from training the same run at once, "
            "which would corrupt its files",
            stacklevel=2,
        )
        yield
        return
    lock, owner = _lock_paths(folder, output_dir, setting)
    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(lock.open("ab"))
            _acquire(stream, folder, owner)
            held.callback(unlock, stream)
            with atomic_write(owner) as text:
                text.write(f"{os.getpid()} {socket.gethostname()}")
        except OSError as error:
            problem = _describe_lock_failure(lock.parent, output_dir, setting, error)
            raise ConfigError(problem) from error
        yield


def lock_owner(folder: Path, output_dir: str, setting: str = "on") -> int | None:
    """The ID of the process on this machine that holds the lock of the run in `folder`, or None."""
    lock, owner = _lock_paths(folder, output_dir, setting)
    if setting == "off" or not owner.is_file():
        return None
    with lock.open("ab") as stream:
        if try_lock(stream):
            unlock(stream)
            return None
    process, host = _read_owner(owner)
    return int(process) if host == socket.gethostname() and not _has_ended(process, host) else None


def signal_runs(runs: list[Config], signal_number: int) -> None:
    """Send a signal to every process on this machine that trains one of these runs."""
    for run in runs:
        if (process := lock_owner(run_folder(run), run.output_dir, run.runtime.lock)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)


def _lock_paths(folder: Path, output_dir: str, setting: str) -> tuple[Path, Path]:
    """The lock file of a run, and the file that names the process that holds the lock."""
    name = f"{folder.parent.name}-{folder.name}"
    if setting in ("on", "off"):
        locks = Path(output_dir) / ".locks"
    else:  # several output folders may share this folder
        locks = Path(setting)
        name = f"{short_hash(str(Path(output_dir).resolve()))}-{name}"
    return locks / f"{name}.lock", locks / f"{name}.holder"


def _describe_lock_failure(locks: Path, output_dir: str, setting: str, error: OSError) -> str:
    problem = describe_os_error(error)
    if error.errno in LOCKS_UNSUPPORTED and error.filename is None:
        return (
            f"{locks} is on a file system without locks ({problem}), so two processes could "
            "train the same run at once: set runtime.lock to a folder on another file system, or "
            "set runtime.lock=off and make sure that only one process trains each run"
        )
    chosen = f"output_dir={output_dir}" if setting == "on" else f"runtime.lock={setting}"
    return f"{chosen} is not a writable folder ({problem}): make it writable or choose another"


def _read_owner(owner: Path) -> tuple[str, str]:
    """The process ID and the host in the file; empty strings if there is no file."""
    with suppress(FileNotFoundError):
        process, _, host = owner.read_text("utf-8").partition(" ")
        return process, host
    return "", ""


def _acquire(stream: IO[bytes], folder: Path, owner: Path) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while not try_lock(stream):
        process, host = _read_owner(owner)
        if not _has_ended(process, host) or time.monotonic() > deadline:
            trainer = f"process {process} on {host}" if process else "another process"
            raise UserError(
                f"{folder} is being trained by {trainer}: wait until it ends, or stop it, and then "
                "repeat the command"
            )
        time.sleep(0.2)


def _has_ended(process: str, host: str) -> bool:
    """Whether the process is known to have ended; False if that is unknown."""
    if host != socket.gethostname() or not process.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # the process runs, but belongs to another user
    return False
