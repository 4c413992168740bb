"""Operating-system signals: stop a program, or save a run and stop or continue it."""

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
RESUMABLE = "the same command resumes what is saved"


@dataclass
class StopRequest:
    """The requests that signals have made to a run so far."""

    stop_signal: int | None = None  # the number of the signal
    save_requested: bool = False
    saved: bool = False  # the run has been saved since it was asked to stop


def end_on_signals(resumes: bool = True) -> None:
    """From now on, SIGINT, SIGTERM and SIGHUP raise Stopped.

    resumes: whether the same command goes on from what is saved.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number, f"stopped: {RESUMABLE}" if resumes else "stopped")

    _handle({**dict.fromkeys(STOP_SIGNALS, stop), **_IGNORE_SAVE})


def raise_broken_pipe() -> None:
    """Act as on SIGTERM, because the reader of the output has closed it."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(BROKEN_PIPE, None)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process: the parent receives it too, and ends its workers."""
    _handle({signal.SIGINT: signal.SIG_IGN, **_IGNORE_SAVE})


def ignore_signals() -> None:
    """Ignore signals in a helper process: its parent gets them too and saves the run first."""
    _handle(dict.fromkeys(_caught_signals(), signal.SIG_IGN))
    if hasattr(signal, "alarm"):
        # An exiting parent also sends SIGTERM, so that signal is delayed instead of ignored.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


@contextmanager
def block_signals() -> Iterator[None]:
    """Delay signals inside the block; processes that it starts call `unblock_signals` later.

    So no signal kills a process that has not installed its handlers yet.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _caught_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Receive signals again, in a process started inside `block_signals`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _caught_signals())


def _caught_signals() -> set[int]:
    return {number for number in (*STOP_SIGNALS, SAVE_SIGNAL) if number}


@contextmanager
def catch_signals(alone: bool = True) -> Iterator[StopRequest]:
    """Collect signals in a StopRequest.

    alone: whether the run has a single process; a SIGINT after another signal then raises Stopped.
    With several processes it cannot, because each receives a Ctrl-C twice: from the terminal and
    from the launcher. Outside the main thread and in forked processes, nothing is collected.
    """
    request, owner = StopRequest(), os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner or request.saved:
            return
        again = request.stop_signal is not None
        if request.stop_signal not in REQUEUE_SIGNALS:  # Slurm sends other signals after it
            request.stop_signal = number
        if number == signal.SIGINT and alone:
            if again:
                raise Stopped(number, f"stopped at once: {RESUMABLE}")
            print_from_handler("stopping after this iteration (Ctrl-C again: stop at once)")

    def save(_number: int, _frame: FrameType | None) -> None:
        request.save_requested = os.getpid() == owner

    handlers: dict[int, Any] = dict.fromkeys(STOP_SIGNALS, stop)
    if SAVE_SIGNAL is not None:
        handlers[SAVE_SIGNAL] = save
    handlers |= dict.fromkeys(submitit_signals(), stop)
    with handle_signals(handlers):
        yield request


def submitit_signals() -> list[int]:
    """The signals on which submitit requeues a preempted job."""
    return [
        number
        for number in (*REQUEUE_SIGNALS, *([SAVE_SIGNAL] if SAVE_SIGNAL is not None else []))
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith("submitit")
    ]


def forward_signal(number: int) -> None:
    """Pass a signal on to submitit if it handles that signal; call this after `catch_signals`."""
    if number in submitit_signals():
        signal.raise_signal(number)  # ends rank 0, and with it the job
        time.sleep(GRACE_SECONDS)


def print_from_handler(text: str) -> None:
    """Print a line from a signal handler, which may have interrupted other printing."""
    with suppress(OSError):  # the terminal may be gone
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def handle_signals(handlers: dict[int, Any]) -> Iterator[None]:
    """Install these handlers inside the block; ignored signals stay ignored."""
    before = _handle(handlers)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handlers: dict[int, Callable[..., None] | signal.Handlers]) -> dict[int, Any]:
    """Set handlers and return those they replace."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            # Signals that are ignored, for example because of nohup, stay ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    return before
