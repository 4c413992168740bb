"""Signals: asking a program to end, and a run to save its state and end, or to save and go on."""

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

# Not every system has all of them.
ENDING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
SAVING: signal.Signals | None = getattr(signal, "SIGUSR1", None)

# By these, or by the former, batch systems ask for room.
REQUEUING = [getattr(signal, n) for n in ("SIGUSR2",) if hasattr(signal, n)]

# By default it would end a process that has nothing to save yet.
_SAVING_NOTHING: dict[int, Any] = {} if SAVING is None else {SAVING: lambda *_: None}

# How long a process that serves another lives on after it was asked to end.
LAST_SECONDS = 30
RESUMABLE = "the same command goes on from what is saved"


@dataclass
class StopRequest:
    """What signals have asked of a run so far."""

    stop_signal: int | None = None  # the number of the signal
    save_requested: bool = False
    saved: bool = False  # the run that is to stop is saved


def end_on_signals() -> None:
    """From here on, a signal that asks for the end raises Stopped, wherever the program is."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number, f"stopped: {RESUMABLE}")

    _handle({**dict.fromkeys(ENDING, stop), **_SAVING_NOTHING})


def stop_on_broken_pipe() -> None:
    """Ask for the end as SIGTERM would, because whoever read the output went away."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):
        handler(BROKEN_PIPE, None)


def ignore_interrupts() -> None:
    """In a process that trains for another: Ctrl-C reaches both, and the other one decides."""
    _handle({signal.SIGINT: signal.SIG_IGN, **_SAVING_NOTHING})


def ignore_signals() -> None:
    """In a process that serves another: let the other one, which gets them too, save its state."""
    _handle(dict.fromkeys(_caught_signals(), signal.SIG_IGN))
    if hasattr(signal, "alarm"):
        # It may come from the other one too, as it ends. So it works, but late.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_SECONDS))


@contextmanager
def block_signals() -> Iterator[None]:
    """Signals that end or save wait meanwhile, and in processes started meanwhile until `unblock_signals`.

    So one that reaches a process before it said what it wants to do on signals does not end it.
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
    """Unblock them in a process that was started while they were blocked."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _caught_signals())


def _caught_signals() -> set[int]:
    return {number for number in (*ENDING, SAVING) if number}


@contextmanager
def catch_signals(alone: bool = True) -> Iterator[StopRequest]:
    """Turn signals into wishes; another SIGINT after one that asks for the end raises Stopped.

    Not where a process is not `alone`: there each hears the same Ctrl-C, and hears of it again from
    who started it.
    Outside the main thread, where Python hears no signals, there are no wishes; and none in
    processes that are forked meanwhile.
    """
    wishes, owner = StopRequest(), os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner or wishes.saved:
            return
        again = wishes.stop_signal is not None
        if wishes.stop_signal not in REQUEUING:  # Slurm sends others after them
            wishes.stop_signal = number
        if number == signal.SIGINT and alone:
            if again:
                raise Stopped(number, f"stopped at once: {RESUMABLE}")
            print_from_handler("stopping after this iteration (again: at once)")

    def save(_number: int, _frame: FrameType | None) -> None:
        wishes.save_requested = os.getpid() == owner

    handlers: dict[int, Any] = dict.fromkeys(ENDING, stop)
    if SAVING is not None:
        handlers[SAVING] = save
    handlers |= dict.fromkeys(requeue_signals(), stop)
    with handle_signals(handlers):
        yield wishes


def requeue_signals() -> list[int]:
    """The signals by which a batch system asks for room, and submitit then queues a job again."""
    return [
        number
        for number in (*REQUEUING, *([SAVING] if SAVING is not None else []))
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith("submitit")
    ]


def forward_signal(number: int) -> None:
    """Let submitit have a signal that it waits for, now that the run is saved."""
    if number in requeue_signals():
        signal.raise_signal(number)  # it ends rank 0, and with it the job
        time.sleep(LAST_SECONDS)


def print_from_handler(text: str) -> None:
    """Print a line where a signal is handled: not through the console, which may be in use."""
    with suppress(OSError):  # nobody may be left to read it
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def handle_signals(handlers: dict[int, Any]) -> Iterator[None]:
    """Handle these signals in these ways for a while; what is ignored stays ignored."""
    before = _handle(handlers)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handlers: dict[int, Callable[..., None] | signal.Handlers]) -> dict[int, Any]:
    """Set handlers, and return those that they take the place of."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            # nohup, and the shell of a job in the background, mean signals to be ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    return before
