"""Locks on open files, which the operating system releases when the owning process ends."""

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def try_lock(stream: IO[bytes]) -> bool:
        """Try to lock an open file; return False if another process has locked it."""
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def unlock(stream: IO[bytes]) -> None:
        """Unlock a file."""
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(stream: IO[bytes]) -> bool:
        """Try to lock an open file; return False if another process has locked it.

        Raises OSError if the file system does not support locks.
        """
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(stream: IO[bytes]) -> None:
        """Unlock a file. Closing it is not enough while a child process has it open."""
        fcntl.flock(stream, fcntl.LOCK_UN)
