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

# Seconds to wait for the lock of a killed process, because its child processes hold the lock until
# they notice, a few seconds later.
GRACE = 20.0

# The errors of file systems without locks, such as some network file systems.
NO_LOCKS = {errno.EPERM, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def run_lock(folder: Path, output_dir: str, setting: str = "on") -> Iterator[None]:
    """Lock the run in `folder`; the operating system releases the lock when this process ends.

    setting: runtime.lock ("on", "off" or a folder); "off" locks nothing.

    Raises UserError, naming the host and process of the owner, if another process has the lock;
    ConfigError if the lock cannot be created.
    """
    if setting == "off":
        warnings.warn(
            "runtime.lock=off: nothing keeps two processes from training the same run at once, "
            "which would spoil its record",
            stacklevel=2,
        )
        yield
        return
    lock, owner = _files(folder, output_dir, setting)
    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(lock.open("ab"))
            _acquire(stream, folder, owner)
            held.callback(unlock, stream)
            with atomic_write(owner) as text:
                text.write(f"{os.getpid()} {socket.gethostname()}")
        except OSError as error:
            raise ConfigError(_cannot_lock(lock.parent, output_dir, setting, error)) from error
        yield


def lock_owner(folder: Path, output_dir: str, setting: str = "on") -> int | None:
    """The ID of the process on this machine that has locked the run in `folder`, or None."""
    lock, owner = _files(folder, output_dir, setting)
    if setting == "off" or not owner.is_file():
        return None
    with lock.open("ab") as stream:
        if try_lock(stream):
            unlock(stream)
            return None
    process, host = _read_owner(owner)
    return int(process) if host == socket.gethostname() and not _is_dead(process, host) else None


def signal_runs(runs: list[Config], number: int) -> None:
    """Send a signal to every process on this machine that trains one of these runs."""
    for run in runs:
        if (process := lock_owner(run_folder(run), run.output_dir, run.runtime.lock)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _files(folder: Path, output_dir: str, setting: str) -> tuple[Path, Path]:
    """The lock file of a run, and the file that names the owner of the lock."""
    name = f"{folder.parent.name}-{folder.name}"
    if setting in ("on", "off"):
        locks = Path(output_dir) / ".locks"
    else:  # one folder of locks may serve several output folders
        locks = Path(setting)
        name = f"{short_hash(str(Path(output_dir).resolve()))}-{name}"
    return locks / f"{name}.lock", locks / f"{name}.holder"


def _cannot_lock(locks: Path, output_dir: str, setting: str, error: OSError) -> str:
    problem = describe_os_error(error)
    if error.errno in NO_LOCKS and error.filename is None:
        return (
            f"{locks} is on a file system without locks ({problem}), so two processes could "
            "train the same run at once: use runtime.lock=FOLDER, a folder on another file "
            "system, or runtime.lock=off and make sure yourself that nothing else trains it"
        )
    chosen = f"output_dir={output_dir}" if setting == "on" else f"runtime.lock={setting}"
    return f"{chosen} is not a writable folder ({problem}): fix that, or choose another"


def _read_owner(owner: Path) -> tuple[str, str]:
    """The process and the host that the file names; empty if it does not exist."""
    with suppress(FileNotFoundError):
        process, _, host = owner.read_text("utf-8").partition(" ")
        return process, host
    return "", ""


def _acquire(stream: IO[bytes], folder: Path, owner: Path) -> None:
    deadline = time.monotonic() + GRACE
    while not try_lock(stream):
        process, host = _read_owner(owner)
        if not _is_dead(process, host) or time.monotonic() > deadline:
            known = f"process {process} on {host}" if process else "another process"
            raise UserError(
                f"{folder} is being trained by {known}: wait for it or end it, then repeat"
            )
        time.sleep(0.2)


def _is_dead(process: str, host: str) -> bool:
    """Whether the process is known to have ended."""
    if host != socket.gethostname() or not process.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # the process of another user, which is alive
    return False
