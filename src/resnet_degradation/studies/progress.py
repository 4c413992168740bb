"""One view of a whole study: live bars in a terminal, plain lines elsewhere, and the time left."""

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

# Seconds between updates of the study's own bar.
TICK = 1.0


@dataclass
class Share:
    """What part of a run was done before this call of the study, and what part is done now."""

    before: float = 0.0
    done: float = 0.0
    failed: bool = False


class StudyProgress:
    """Shows how far the runs of a study are, each and together."""

    def __init__(
        self,
        console: Console,
        costs: dict[str, float],
        num_finished: int,
        name_of: Callable[[Config], str] = run_name,
    ) -> None:
        """costs: what each run that is not finished costs, by its name, in any one unit.

        name_of: the name of a run, which no other has.
        """
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

    def __enter__(self) -> "StudyProgress":
        self.bar.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.bar.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def of(self, run: Config) -> "StudyRunProgress":
        """The view of one of its runs."""
        name = self.name_of(run)
        if name not in self.running:
            self.running[name] = StudyRunProgress(self, run)
        return self.running[name]

    def over(self, run: Config, failure: str | None) -> None:
        """A run has come to its end, or failed for a reason."""
        name = self.name_of(run)
        if name in self.running:
            self.bar.remove_task(self.running.pop(name).bar)
        share = self.shares[name]
        if failure is None:
            share.done = 1 - share.before
            self.num_finished += 1
            seconds = read_summary(run_folder(run))["seconds"]
            self.say(f"{name}: {read_final_errors(run_folder(run))} ({seconds:.0f} s)")
        else:
            share.failed = True
            self.say(f"{name} failed: {failure}")
        self.tick(force=True)

    def work(self) -> tuple[float, float]:
        """What is done of the costs in this call, and all that this call will have done."""
        done = sum(self.costs[name] * share.done for name, share in self.shares.items())
        total = sum(
            self.costs[name] * (share.done if share.failed else 1 - share.before)
            for name, share in self.shares.items()
        )
        return done, total

    def tick(self, force: bool = False) -> None:
        """Bring the study's own bar up to date."""
        now = time.monotonic()
        if force or now - self._ticked >= TICK:
            self._ticked = now
            done, total = self.work()
            description, left = self.count(), self.time_left()
            self.bar.update(
                self._bar, completed=done, total=total, description=description, left=left
            )

    def count(self) -> str:
        """How many of the runs are finished."""
        return f"{self.num_finished}/{self.num_runs} runs"

    def time_left(self) -> str:
        """The time left, as in "1:05 left"; empty before there is a speed."""
        done, total = self.work()
        self._left.update(done)
        return self._left.describe(total)

    def format_text(self) -> str:
        """How far the study is, in a few words."""
        return ", ".join(filter(None, [self.count(), self.time_left()]))


class StudyRunProgress(Progress):
    """Shows one run within its study; see console.progress.Progress."""

    def __init__(self, study: StudyProgress, run: Config) -> None:
        self.study = study
        self.run = run
        self.name = study.name_of(run)
        # What an earlier call recorded beyond its last checkpoint is run, and recorded, again.
        self._stale = _recorded(run)
        self._shown = last_checkpoint(run_folder(run))  # the last iteration shown
        self._total = 0
        self._errors = Errors()
        self._left = TimeLeft(self._shown)
        self._seldom = Throttle(BETWEEN_LINES)
        self.bar = study.bar.add_task(self.name, total=None, count="", measured="", left="")

    def say(self, text: str) -> None:
        """Leave it to the study to say how the run ended."""

    def prepare(self, what: str, done: int, total: int) -> None:
        """Show some work that is done before the run can begin, and how far it is."""
        progress, count = self.study.bar, f"{done:,}/{total:,}"
        progress.update(self.bar, completed=done, total=total, count=count, measured=what)
        if progress.disable and self._seldom.is_due():
            self.study.say(f"{self.name:<18} {what} {count}")

    def begin(self, start: int, total: int, about: str) -> None:
        """Show a run of which `start` of `total` iterations are done; the report says the rest."""
        del about
        self._left = TimeLeft(start)
        self._resume(start, total)

    def _resume(self, start: int, total: int) -> None:
        self._total = total
        self.study.shares[self.name].before = start / total
        if start > 0:
            self.study.say(f"{self.name}: resumed after {start:,} iterations")
        self.study.bar.update(self.bar, total=total, measured="")
        self.advance(start)

    def advance(self, done: int) -> None:
        """`done` iterations are done."""
        share = self.study.shares[self.name]
        share.done = done / self._total - share.before
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

    def end(self) -> None:
        """Leave it to the study to take the run's bar away."""

    def read(self) -> None:
        """Show what the record of a run in another process holds beyond what was shown."""
        if self._stale is not None and _recorded(self.run) == self._stale:
            return  # the run has not taken it up yet
        self._stale = None
        new = [row for row in read_whole_rows(run_folder(self.run)) if row.iteration > self._shown]
        if new:
            if self._total == 0:
                # It began before this row: its speed is counted from when it was first looked at.
                self._resume(self._shown, _length(self.run, new[-1]))
            self.advance(new[-1].iteration)
            self.row(new[-1])


def _recorded(run: Config) -> int | None:
    """The inode of the record of a run, which is replaced when the run is taken up."""
    file = run_folder(run) / "metrics.csv"
    return file.stat().st_ino if file.is_file() else None


def _length(run: Config, row: Row) -> int:
    """The iterations of a run, told from its configuration and a row of its record."""
    length = run.recipe.iterations
    if isinstance(length, int):
        return length
    epochs = float(str(length).removesuffix("ep"))
    return max(1, round(epochs * row.iteration / row.epoch))
