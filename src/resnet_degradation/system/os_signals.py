"""Handles operating-system signals, which stop a program or save a run."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from resnet_degradation.system.errors import BROKEN_PIPE, Stopped

# Not every system has all of these signals.
STOP_SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
SAVE_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)

# Batch systems preempt a job with this signal or with SAVE_SIGNAL.
REQUEUE_SIGNALS = [getattr(signal, n) for n in ("SIGUSR2",) if hasattr(signal, n)]

# By default, SAVE_SIGNAL would kill a process that has nothing to save yet.
_IGNORE_SAVE: dict[int, Any] = {} if SAVE_SIGNAL is None else {SAVE_SIGNAL: lambda *_: None}

# Seconds that a worker or helper process may continue after SIGTERM.
GRACE_SECONDS = 30

# Part of messages about a stop.
RESUME_HINT = "the same command resumes what is saved"


@dataclass
class StopRequest:
    """What signals have requested of a run so far."""

    stop_signal: int | None = None  # signal number
    save_requested: bool = False
    saved: bool = False  # whether the run was saved after the request to stop


def end_on_signals(resumes: bool = True) -> None:
    """From now on, SIGINT, SIGTERM and SIGHUP raise Stopped.

    resumes: whether the same command goes on from what is saved.
    """

    def stop(signum: int, _frame: FrameType | None) -> None:
        raise Stopped(signum, f"stopped: {RESUME_HINT}" if resumes else "stopped")

    _set_handlers({**dict.fromkeys(STOP_SIGNALS, stop), **_IGNORE_SAVE})


def stop_on_broken_pipe() -> None:
    """Stop as on SIGTERM, because the reader of the output has closed it."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(BROKEN_PIPE, None)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process, because its parent gets it too and ends its workers."""
    _set_handlers({signal.SIGINT: signal.SIG_IGN, **_IGNORE_SAVE})


def ignore_signals() -> None:
    """Ignore signals in a helper process, because its parent gets them too and saves the run."""
    _set_handlers(dict.fromkeys(_caught_signals(), signal.SIG_IGN))
    if hasattr(signal, "alarm"):
        # An exiting parent also sends SIGTERM, so delay that signal instead of ignoring it.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


@contextmanager
def block_signals() -> Iterator[None]:
    """Delay signals inside the block; processes that it starts must call `unblock_signals`.

    This way, no signal kills a process before it has installed its handlers.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _caught_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def unblock_signals() -> None:
    """Receive signals again, in a process started inside `block_signals`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _caught_signals())


def _caught_signals() -> set[int]:
    return {signum for signum in (*STOP_SIGNALS, SAVE_SIGNAL) if signum}


@contextmanager
def catch_signals(single_process: bool = True) -> Iterator[StopRequest]:
    """Collect signals in a StopRequest.

    single_process: whether the run has a single process. In that case, a SIGINT after another
    signal raises Stopped. Several processes must not do this, because each receives a Ctrl-C twice:
    from the terminal and from the launcher. Nothing is collected outside the main thread or in
    forked processes.
    """
    request, owner_pid = StopRequest(), os.getpid()

    def stop(signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner_pid or request.saved:
            return
        is_repeated = request.stop_signal is not None
        if request.stop_signal not in REQUEUE_SIGNALS:  # Slurm sends other signals afterwards
            request.stop_signal = signum
        if signum == signal.SIGINT and single_process:
            if is_repeated:
                raise Stopped(signum, f"stopped at once: {RESUME_HINT}")
            print_from_handler("stopping after this iteration (Ctrl-C again: stop at once)")

    def save(_signum: int, _frame: FrameType | None) -> None:
        request.save_requested = os.getpid() == owner_pid

    handlers: dict[int, Any] = dict.fromkeys(STOP_SIGNALS, stop)
    if SAVE_SIGNAL is not None:
        handlers[SAVE_SIGNAL] = save
    handlers |= dict.fromkeys(find_submitit_signals(), stop)
    with handle_signals(handlers):
        yield request


def find_submitit_signals() -> list[int]:
    """Find the signals on which submitit requeues a preempted job."""
    return [
        signum
        for signum in (*REQUEUE_SIGNALS, *([SAVE_SIGNAL] if SAVE_SIGNAL is not None else []))
        if str(getattr(signal.getsignal(signum), "__module__", "")).startswith("submitit")
    ]


def forward_signal(signum: int) -> None:
    """Pass a signal on to submitit, if that handles it; call this after `catch_signals`."""
    if signum in find_submitit_signals():
        signal.raise_signal(signum)  # ends rank 0, and with it the job
        time.sleep(GRACE_SECONDS)


def print_from_handler(text: str) -> None:
    """Print a line from a signal handler, which may have interrupted other printing."""
    with suppress(OSError):  # the terminal may be gone
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def handle_signals(handlers: dict[int, Any]) -> Iterator[None]:
    """Install handlers inside the block; ignored signals stay ignored."""
    previous = _set_handlers(handlers)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _set_handlers(handlers: dict[int, Callable[..., None] | signal.Handlers]) -> dict[int, Any]:
    """Install handlers, and return those that they replace."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for signum, handler in handlers.items():
            # Signals that are ignored, for example because of nohup, stay ignored.
            if signal.getsignal(signum) is not signal.SIG_IGN:
                previous[signum] = signal.signal(signum, handler)
    return previous
