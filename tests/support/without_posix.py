"""Runs resnet-train in a Python without the functions that Windows does not have (test_portable).

Other libraries are imported before these functions are removed, because they check the system
themselves.
"""

import errno
import importlib
import os
import pkgutil
import signal
import sys
import types
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import resnet_degradation

LIBRARIES = (
    *("matplotlib.pyplot", "sklearn.datasets", "tensorboard.compat", "torchvision"),
    *("torch.distributed.elastic.multiprocessing", "torch.distributed.launcher.api"),
    "torch.utils.tensorboard",
)
MODULES = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
FUNCTIONS = (
    *("O_DIRECTORY", "chown", "fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid"),
    *("getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getsid", "getuid"),
    *("initgroups", "killpg", "lchown", "major", "minor", "mkfifo", "mknod", "nice", "openpty"),
    *("pathconf", "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "sendfile"),
    *("setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync", "sysconf", "tcgetpgrp"),
    *("uname", "wait", "wait3", "wait4"),
)
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
SIGNAL_FUNCTIONS = {"signal", "getsignal", "raise_signal", "default_int_handler", "strsignal"}


def fake_msvcrt() -> types.ModuleType:
    """A module with the file locks of Windows."""
    import fcntl

    module: Any = types.ModuleType("msvcrt")
    module.LK_NBLCK, module.LK_UNLCK = 2, 0

    def locking(descriptor: int, mode: int, _bytes: int) -> None:
        if mode == module.LK_UNLCK:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    module.locking = locking
    return module


def remove_posix() -> None:
    """Remove the modules, functions and signals that Windows does not have."""
    sys.modules["msvcrt"] = fake_msvcrt()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    for name, value in vars(signal).copy().items():
        is_signal = name.startswith(("SIG", "ITIMER")) and name not in SIGNALS
        is_function = isinstance(value, types.BuiltinFunctionType | types.FunctionType)
        if is_signal or (is_function and name[0] != "_" and name not in SIGNAL_FUNCTIONS):
            delattr(signal, name)


def refuse_linux_files(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: the files of Linux about processes and processors cannot be opened."""
    if event == "open" and str(arguments[0]).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", arguments[0])


def check_locks() -> None:
    """Check that a lock excludes a second one, which a second process would hold, until it ends."""
    locks = importlib.import_module("resnet_degradation.system.file_locks")
    with NamedTemporaryFile() as first, Path(first.name).open("ab") as second:
        assert [locks.try_lock(first), locks.try_lock(second)] == [True, False]
        locks.unlock(first)
        assert locks.try_lock(second)


def main() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    remove_posix()
    sys.addaudithook(refuse_linux_files)
    sys.platform, real = "win32", sys.platform
    check_locks()
    sys.platform = real
    for module in pkgutil.walk_packages(resnet_degradation.__path__, "resnet_degradation."):
        importlib.import_module(module.name)
    from resnet_degradation.cli.commands import train

    train()


if __name__ == "__main__":
    main()
