"""The progress of a run: a live bar in a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar

from resnet_degradation.records.metrics import Row

# Seconds between lines on the work before a run, where there is no bar.
BETWEEN_LINES = 10.0

# Receives a kind of work, the amount finished, and the total.
ReportProgress = Callable[[str, int, int], None]


def ignore_progress(_what: str, _finished: int, _total: int) -> None:
    """Report nothing."""


class Progress:
    """Reports the progress of a run; this base class reports nothing."""

    def say(self, text: str) -> None:
        """Print some text."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Report work before the run."""

    def begin(self, start: int, total: int, about: str) -> None:
        """Start, or resume, a run after `start` of `total` iterations; `about` describes it."""

    def advance(self, done: int) -> None:
        """Report the iteration that the run has reached."""

    def row(self, row: Row) -> None:
        """Report a new row of metrics.csv."""

    def end(self) -> None:
        """Report the end of the run, finished or not."""


class NullProgress(Progress):
    """Reports nothing."""


class Throttle:
    """Allows one call per period; the first period starts with the throttle."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the period is over; if so, the next one starts."""
        if (now := time.monotonic()) - self._last < self._seconds:
            return False
        self._last = now
        return True


class TimeLeft:
    """Estimates the time left from the speed over the last ten minutes of this process."""

    RECENT = 600.0  # seconds
    SPACING = 1.0  # seconds between the samples that are kept

    def __init__(self, start: float) -> None:
        """start: the amount of work that is finished already, in any unit."""
        self._latest = (time.monotonic(), start)
        self._samples = deque([self._latest])

    def update(self, finished: float) -> None:
        """Add a sample of the amount of finished work."""
        self._latest = (now, _) = (time.monotonic(), finished)
        if now - self._samples[-1][0] >= self.SPACING:
            self._samples.append(self._latest)
        while len(self._samples) > 1 and now - self._samples[1][0] >= self.RECENT:
            self._samples.popleft()

    def describe(self, total: float) -> str:
        """The time left, as in "1:05 left"; empty while the speed is unknown."""
        (start, before), (now, finished) = self._samples[0], self._latest
        if finished <= before:
            return ""
        seconds = round((total - finished) * (now - start) / (finished - before))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
        return f"{clock}:{seconds:02d} left"


class Errors:
    """The latest errors of a run as text."""

    def __init__(self) -> None:
        self._held_out = ""

    def format_text(self, row: Row, in_place: bool) -> str:
        """The training error of a row, and its held-out error if it has one.

        in_place: the text replaces the previous one, so it repeats the last held-out error.
        """
        if not in_place:
            self._held_out = ""
        if (error := row.held_out_error()) is not None:
            name = "val" if row.val_error is not None else "test"
            self._held_out = f" {name} {error:.1f}%"
        return f"train {row.train_error:.1f}%{self._held_out}"


class RunProgress(Progress):
    """Shows the errors, learning rate, speed and time left of one run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._throttle = Throttle(BETWEEN_LINES)
        self._bar: ProgressBar | None = None  # of the work before the run, then of the run
        self._total = 0
        self._errors = Errors()
        self._left = TimeLeft(0)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def prepare(self, what: str, done: int, total: int) -> None:
        if self.console.is_terminal:
            if self._bar is None:
                self._start(done, total, what, transient=True)
            self.advance(done)
            if done == total:
                self.end()
        elif self._throttle.is_due():
            self.say(f"{what}: {done:,}/{total:,}")

    def begin(self, start: int, total: int, about: str) -> None:
        self.end()
        self.say(about)
        self._errors = Errors()
        self._start(start, total)

    def _start(self, start: int, total: int, measured: str = "", transient: bool = False) -> None:
        self._total = total
        self._left = TimeLeft(start)
        if not self.console.is_terminal:
            return
        # Without a label, the numbers fit into 80 columns.
        self._bar = ProgressBar(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[measured]}"),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            console=self.console,
            expand=True,
            transient=transient,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=total, completed=start, measured=measured, left=""
        )

    def advance(self, done: int) -> None:
        self._left.update(done)
        if self._bar is not None:
            left = self._left.describe(self._total)
            self._bar.update(self._task, completed=done, left=left)

    def row(self, row: Row) -> None:
        errors = self._errors.format_text(row, in_place=self._bar is not None)
        measured = f"{errors} lr {row.lr:.3g} {row.images_per_second:.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, measured=measured)
            return
        left = self._left.describe(self._total)
        self.say(f"{row.iteration:>7}/{self._total} {measured} {left}".rstrip())

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
