"""Shows the progress of a run: a live bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Column

from resnet_degradation.console.lines import FULL_PROGRESS_WIDTH, print_line
from resnet_degradation.records.metrics import Row

# Seconds between lines about the preparation of a run, if there is no bar.
SECONDS_BETWEEN_LINES = 10.0

# The bar is updated at most once per SECONDS_BETWEEN_UPDATES. rich estimates the time left from the
# updates of the last SPEED_WINDOW_SECONDS, but from at most 1,000 updates.
SECONDS_BETWEEN_UPDATES = 1.0
SPEED_WINDOW_SECONDS = 600.0
TIME_LEFT_COLUMN = TimeRemainingColumn(compact=True)

# Called with the name of a task, the amount done, and the total amount.
ReportProgress = Callable[[str, int, int], None]


def ignore_progress(_task: str, _done: int, _total: int) -> None:
    """Report nothing."""


class Progress:
    """Reports the progress of a run; this base class reports nothing."""

    def say(self, text: str) -> None:
        """Print a message."""

    def advise(self, text: str) -> None:
        """Print advice, even if the run is part of a study."""
        self.say(text)

    def show_preparation(self, task: str, done: int, total: int) -> None:
        """Report the progress of a task before the run."""

    def begin(self, start: int, total: int, description: str) -> None:
        """Start or resume a run that has `start` of `total` iterations."""

    def advance(self, done: int) -> None:
        """Report that `done` iterations are done."""

    def show_row(self, row: Row) -> None:
        """Report a new row of metrics.csv."""

    def end(self) -> None:
        """Report the end of the run, finished or not."""


class NullProgress(Progress):
    """Reports nothing."""


class Throttle:
    """Allows one call per period; the first period starts when the throttle is created."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the period is over; if so, the next one starts."""
        if (now := time.monotonic()) - self._last < self._seconds:
            return False
        self._last = now
        return True


def stderr_is_terminal() -> bool:
    """Whether standard error is a terminal; if so, warnings must be printed above a bar."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def make_bar_column() -> BarColumn:
    """Make a bar that fills the space left by the numbers."""
    return BarColumn(bar_width=None, table_column=Column(ratio=1))


def format_time_left(task: Task) -> str:
    """Format the time left at the recent speed, as in "01:05 left"; empty if unknown."""
    return "" if task.time_remaining is None else f"{TIME_LEFT_COLUMN.render(task)} left"


def format_errors(row: Row) -> dict[str, Any]:
    """Format the training error of a row, and its held-out error if it has one."""
    errors = {"status": f"train {row.train_error:.1f}%"}
    if (error := row.held_out_error()) is not None:
        errors["held_out"] = f"{'test' if row.val_error is None else 'val'} {error:.1f}%"
    return errors


class RunProgress(Progress):
    """Shows the errors, learning rate, speed and time left of one run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lines = Throttle(SECONDS_BETWEEN_LINES)
        self._updates = Throttle(SECONDS_BETWEEN_UPDATES)
        self._bar: ProgressBar | None = None  # for the preparation, then for the run

    def say(self, text: str) -> None:
        print_line(self.console, text)

    def show_preparation(self, task: str, done: int, total: int) -> None:
        if not self.console.is_terminal:
            if self._lines.is_due():
                self.say(f"{task}: {done:,}/{total:,}")
            return
        if self._bar is None:
            self._start_bar(done, total, task, transient=True)
        self.advance(done)
        if done == total:
            self.end()

    def begin(self, start: int, total: int, description: str) -> None:
        self.end()
        self.say(description)
        self._start_bar(start, total)

    def _start_bar(self, start: int, total: int, status: str = "", transient: bool = False) -> None:
        # Without a label, the numbers fit into 80 columns.
        columns = [
            make_bar_column(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("{task.fields[held_out]}"),  # error at the last evaluation
            TextColumn("{task.fields[lr]}"),
            TextColumn("{task.fields[speed]}"),
            TIME_LEFT_COLUMN,
            TextColumn("left"),
        ]
        is_wide = self.console.width >= FULL_PROGRESS_WIDTH
        self._bar = ProgressBar(
            *(columns if is_wide else [*columns[1:4], *columns[5:7]]),
            console=self.console,
            expand=is_wide,
            transient=transient,
            disable=not self.console.is_terminal,
            redirect_stderr=stderr_is_terminal(),
            speed_estimate_period=SPEED_WINDOW_SECONDS,
        )
        self._bar.start()
        self._bar.add_task(
            "", total=total, completed=start, status=status, held_out="", lr="", speed=""
        )

    def advance(self, done: int) -> None:
        if self._bar is not None and self._updates.is_due():
            self._bar.update(self._bar.task_ids[0], completed=done)

    def show_row(self, row: Row) -> None:
        assert self._bar is not None
        (task,) = self._bar.tasks
        fields = format_errors(row)
        fields |= {"lr": f"lr {row.lr:.3g}", "speed": f"{row.images_per_second:.0f} images/s"}
        self._bar.update(task.id, completed=row.iteration, **fields)
        if not self.console.is_terminal:
            status = " ".join(fields.values())
            self.say(f"{row.iteration:>7}/{task.total} {status} {format_time_left(task)}".rstrip())

    def end(self) -> None:
        if self._bar is not None and self.console.is_terminal:
            self._bar.stop()
        self._bar = None
