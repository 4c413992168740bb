"""What a run says while it trains: a live bar in a terminal, plain lines elsewhere."""

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as ProgressBar,
)

from resnet_degradation.records.metrics import Row
from resnet_degradation.system.os_signals import stop_on_broken_pipe


class Output:
    """A stream that a run outlives: a terminal that is closed, a log on a disk that is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write some text; raises BrokenPipeError if whoever read it went away."""
        with self._outlived():
            self._stream.write(text)

    def flush(self) -> None:
        """Write what is buffered; raises BrokenPipeError if whoever read it went away."""
        with self._outlived():
            self._stream.flush()

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            warnings.warn(
                f"standard output cannot be written ({error.strerror}): going on without it",
                stacklevel=2,
            )


class Terminal(Console):
    """Standard output. When its reader goes away, the program ends."""

    def __init__(self) -> None:
        super().__init__(file=None if sys.stdout is None else cast(TextIO, Output(sys.stdout)))
        if self.width < 1:  # COLUMNS=0, with which nothing would be shown
            self.width = 80

    def on_broken_pipe(self) -> None:
        """Print no more, and end as on a signal: a run is saved first."""
        self.quiet = True
        stop_on_broken_pipe()


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def say(self, text: str) -> None:
        """Print some text."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show some work that is done before a run can begin, and how far it is."""

    def begin(self, start: int, total: int, about: str) -> None:
        """Show a run of which `start` of `total` iterations are done, and what it is about."""

    def advance(self, done: int) -> None:
        """`done` iterations are done."""

    def row(self, row: Row) -> None:
        """Show a new row of the record."""

    def end(self) -> None:
        """The run is over, finished or not."""


class NullProgress:
    """A view that shows nothing."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show nothing."""

    def begin(self, start: int, total: int, about: str) -> None:
        """Show nothing."""

    def advance(self, done: int) -> None:
        """Show nothing."""

    def row(self, row: Row) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Nothing to take away."""


class Throttle:
    """Lets through one call in so many seconds, the first not before as many have passed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time again."""
        if (now := time.monotonic()) - self._last < self._seconds:
            return False
        self._last = now
        return True


class TimeLeft:
    """Estimates the time left of some work from its speed over the last ten minutes.

    What was done before, by an earlier process or under another load, says nothing of the time to
    come.
    """

    RECENT = 600.0  # seconds
    SPACING = 1.0  # seconds between the samples that are kept

    def __init__(self, done: float) -> None:
        """done: how much of the work is done at the start, in any one unit."""
        self._latest = (time.monotonic(), done)
        self._samples = deque([self._latest])

    def update(self, done: float) -> None:
        """So much of the work is done now."""
        self._latest = (now, _) = (time.monotonic(), done)
        if now - self._samples[-1][0] >= self.SPACING:
            self._samples.append(self._latest)
        while len(self._samples) > 1 and now - self._samples[1][0] >= self.RECENT:
            self._samples.popleft()

    def describe(self, total: float) -> str:
        """The time left until `total` is done, as in "1:05 left"; empty before there is a speed."""
        (start, before), (now, done) = self._samples[0], self._latest
        if done <= before:
            return ""
        return f"{clock((total - done) * (now - start) / (done - before))} left"


class Errors:
    """The last errors of a run as text; the held-out one stays until the next is measured."""

    def __init__(self) -> None:
        self._held_out = ""

    def format_text(self, row: Row, in_place: bool) -> str:
        """The training error of this row, and the held-out error if it is of this row.

        in_place: what is said replaces what was said before, so the last held-out error stays.
        """
        if not in_place:
            self._held_out = ""
        if (error := row.held_out_error()) is not None:
            name = "val" if row.val_error is not None else "test"
            self._held_out = f" {name} {error:.1f}%"
        return f"train {row.train_error:.1f}%{self._held_out}"


# Seconds between lines on work that is done before a run begins, where there is no bar.
BETWEEN_LINES = 10.0


class RunProgress:
    """Shows one run's errors, rate, speed and time left; see View."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._preparing: ProgressBar | None = None
        self._seldom = Throttle(BETWEEN_LINES)
        self._bar: ProgressBar | None = None
        self._task = TaskID(0)
        self._total = 0
        self._errors = Errors()
        self._left = TimeLeft(0)

    def say(self, text: str) -> None:
        """Print some text, above the bar if there is one."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show some work that is done before the run can begin, and how far it is."""
        if not self.console.is_terminal:
            if self._seldom.is_due():
                self.say(f"{what}: {done:,}/{total:,}")
            return
        if self._preparing is None:
            self._preparing = ProgressBar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=self.console,
                expand=True,
                transient=True,
            )
            self._preparing.start()
            self._task = self._preparing.add_task(what, total=total)
        self._preparing.update(self._task, completed=done)
        if done == total:
            self._stop_preparing()

    def _stop_preparing(self) -> None:
        if self._preparing is not None:
            self._preparing.stop()
            self._preparing = None

    def begin(self, start: int, total: int, about: str) -> None:
        """Show a run of which `start` of `total` iterations are done, and what it is about."""
        self._stop_preparing()
        self.say(about)
        self._total = total
        self._errors = Errors()
        self._left = TimeLeft(start)
        if self.console.is_terminal:
            # Narrow enough for 80 columns, beyond which numbers are cut off: so without a label.
            self._bar = ProgressBar(
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[measured]}"),
                TextColumn("{task.fields[left]}", style="progress.remaining"),
                console=self.console,
                expand=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total, completed=start, measured="", left="")

    def advance(self, done: int) -> None:
        """`done` iterations are done."""
        self._left.update(done)
        if self._bar is not None:
            left = self._left.describe(self._total)
            self._bar.update(self._task, completed=done, left=left)

    def row(self, row: Row) -> None:
        """Show a new row of the record."""
        errors = self._errors.format_text(row, in_place=self._bar is not None)
        measured = f"{errors} lr {row.lr:.3g} {row.images_per_second:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, measured=measured)
            return
        left = self._left.describe(self._total)
        self.say(f"{row.iteration:>7}/{self._total} {measured} {left}".rstrip())

    def end(self) -> None:
        """Take the bar away."""
        self._stop_preparing()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def clock(seconds: float) -> str:
    """A time in seconds as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{int(seconds):02d}" if hours else f"{minutes}:{int(seconds):02d}"


# Told of work that is done before anything can be trained: what it is, how much of it is done,
# and how much there is.
ReportProgress = Callable[[str, int, int], None]


def ignore_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""
