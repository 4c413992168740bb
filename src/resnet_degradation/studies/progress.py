"""Progress of a study: live bars in a terminal, plain lines elsewhere, and the time left."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as ProgressBar

from resnet_degradation.config.identity import run_folder, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import (
    BETWEEN_LINES,
    Errors,
    Progress,
    Throttle,
    TimeLeft,
)
from resnet_degradation.records.metrics import Row, read_whole_rows
from resnet_degradation.records.run_folder import last_checkpoint
from resnet_degradation.records.summary import read_final_errors, read_summary

# Seconds between updates of the study's bar.
TICK = 1.0


@dataclass
class Share:
    """The fractions of a run that this call of the study trains in all, and has trained so far."""

    planned: float = 1.0
    done: float = 0.0


class StudyProgress:
    """Shows the progress of a study and of each of its runs."""

    def __init__(
        self,
        console: Console,
        costs: dict[str, float],
        num_finished: int,
        name_of: Callable[[Config], str] = run_name,
    ) -> None:
        """costs: of each unfinished run by its name, in any one unit. name_of: unique names."""
        self.console = console
        self.name_of = name_of
        self.costs = costs
        self.shares = {name: Share() for name in costs}
        self.num_runs = num_finished + len(costs)
        self.num_finished = num_finished
        self.running: dict[str, StudyRunProgress] = {}
        self.bar = ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[measured]}"),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self._bar = self.bar.add_task("", count="", measured="", left="")
        self._left = TimeLeft(0)
        self._ticked = 0.0
        self.tick(force=True)

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def of(self, run: Config) -> "StudyRunProgress":
        """The progress of one run."""
        name = self.name_of(run)
        if name not in self.running:
            self.running[name] = StudyRunProgress(self, run)
        return self.running[name]

    def over(self, run: Config, failure: str | None) -> None:
        """Report that a run has finished, or why it failed."""
        name = self.name_of(run)
        if name in self.running:
            self.bar.remove_task(self.running.pop(name).bar)
        share = self.shares[name]
        if failure is None:
            share.done = share.planned
            self.num_finished += 1
            seconds = read_summary(run_folder(run))["seconds"]
            self.say(f"{name}: {read_final_errors(run_folder(run))} ({seconds:.0f} s)")
        else:
            share.planned = share.done
            self.say(f"{name} failed: {failure}")
        self.tick(force=True)

    def work(self) -> tuple[float, float]:
        """The costs that this call has spent, and those that it will have spent at the end."""
        done = sum(self.costs[name] * share.done for name, share in self.shares.items())
        total = sum(self.costs[name] * share.planned for name, share in self.shares.items())
        return done, total

    def tick(self, force: bool = False) -> None:
        """Update the study's bar, at most once in TICK seconds unless forced."""
        now = time.monotonic()
        if force or now - self._ticked >= TICK:
            self._ticked = now
            done, total = self.work()
            count, left = self._count_and_time_left()
            self.bar.update(self._bar, completed=done, total=total, description=count, left=left)

    def _count_and_time_left(self) -> tuple[str, str]:
        done, total = self.work()
        self._left.update(done)
        return f"{self.num_finished}/{self.num_runs} runs", self._left.describe(total)

    def format_text(self) -> str:
        """The progress of the study, as in "2/4 runs, 1:05 left"."""
        return ", ".join(filter(None, self._count_and_time_left()))


class StudyRunProgress(Progress):
    """Shows one run within its study, which reports how the run ended."""

    def __init__(self, study: StudyProgress, run: Config) -> None:
        self.study = study
        self.run = run
        self.name = study.name_of(run)
        # Rows after the last checkpoint of an earlier call are trained and recorded again.
        self._stale = _recorded(run)
        self._shown = last_checkpoint(run_folder(run))  # the last iteration shown
        self._total = 0
        self._errors = Errors()
        self._left = TimeLeft(self._shown)
        self._seldom = Throttle(BETWEEN_LINES)
        self.bar = study.bar.add_task(self.name, total=None, count="", measured="", left="")

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show the progress of some work before the run can begin."""
        progress, count = self.study.bar, f"{done:,}/{total:,}"
        progress.update(self.bar, completed=done, total=total, count=count, measured=what)
        if progress.disable and self._seldom.is_due():
            self.study.say(f"{self.name:<18} {what} {count}")

    def begin(self, start: int, total: int, about: str) -> None:
        """Show a run of which `start` of `total` iterations are done."""
        del about
        self._left = TimeLeft(start)
        self._resume(start, total)

    def _resume(self, start: int, total: int) -> None:
        self._total = total
        self.study.shares[self.name].planned = 1 - start / total
        if start > 0:
            self.study.say(f"{self.name}: resumed after {start:,} iterations")
        self.study.bar.update(self.bar, total=total, measured="")
        self.advance(start)

    def advance(self, done: int) -> None:
        """Show that `done` iterations are done."""
        share = self.study.shares[self.name]
        share.done = share.planned - (1 - done / self._total)
        self._left.update(done)
        count, left = f"{done}/{self._total}", self._left.describe(self._total)
        self.study.bar.update(self.bar, completed=done, count=count, left=left)
        self.study.tick()

    def row(self, row: Row) -> None:
        """Show a new row of the record."""
        self._shown = row.iteration
        measured = self._errors.format_text(row, in_place=not self.study.bar.disable)
        self.study.bar.update(self.bar, measured=measured)
        if self.study.bar.disable:
            done = f"{row.iteration:>6}/{self._total}"
            self.study.say(f"{self.name:<18} {done} {measured} [{self.study.format_text()}]")

    def read(self) -> None:
        """Show the new rows in the record of a run in another process."""
        if self._stale is not None and _recorded(self.run) == self._stale:
            return  # the run has not resumed yet
        self._stale = None
        new = [row for row in read_whole_rows(run_folder(self.run)) if row.iteration > self._shown]
        if new:
            if self._total == 0:
                # It began before this row: its speed counts from the first look at its record.
                self._resume(self._shown, _length(self.run, new[-1]))
            self.advance(new[-1].iteration)
            self.row(new[-1])


def _recorded(run: Config) -> int | None:
    """The inode of a run's record, which changes when the run resumes."""
    file = run_folder(run) / "metrics.csv"
    return file.stat().st_ino if file.is_file() else None


def _length(run: Config, row: Row) -> int:
    """The iterations of a run, from its configuration and a row of its record."""
    length = run.recipe.iterations
    if isinstance(length, int):
        return length
    epochs = float(str(length).removesuffix("ep"))
    return max(1, round(epochs * row.iteration / row.epoch))
