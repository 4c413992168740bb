"""Progress of a study: live bars in a terminal, plain lines elsewhere, and the time left."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.progress import TextColumn

from resnet_degradation.config.durations import parse_duration
from resnet_degradation.config.identity import run_folder, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.console.lines import FULL_PROGRESS_WIDTH, print_line
from resnet_degradation.console.progress import (
    RECENT,
    SECONDS_BETWEEN_LINES,
    SECONDS_BETWEEN_UPDATES,
    TIME_LEFT,
    Progress,
    Throttle,
    bar_column,
    format_errors,
    stderr_is_terminal,
    time_left,
)
from resnet_degradation.records.metrics import Row, read_valid_rows
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import read_final_errors, read_summary

FIELDS: dict[str, Any] = {"count": "", "measured": "", "held_out": ""}


class StudyProgress:
    """Shows the progress of a study and of each of its runs, and collects failures."""

    def __init__(
        self,
        console: Console,
        costs: dict[str, float],
        num_finished: int,
        name_of: Callable[[Config], str] = run_name,
    ) -> None:
        """costs: the cost of each unfinished run, by its name, in any unit.

        name_of: returns a unique name for each run.
        """
        self.console = console
        self.name_of = name_of
        self.costs = costs
        self.spent = dict.fromkeys(costs, 0.0)  # cost that this call has spent
        self.planned = costs.copy()  # cost that this call will have spent at its end
        self.failures: dict[str, str] = {}
        self.num_runs = num_finished + len(costs)
        self.num_finished = num_finished
        self.running: dict[str, StudyRunProgress] = {}
        is_wide = console.width >= FULL_PROGRESS_WIDTH
        position = (
            [bar_column(), TextColumn("{task.fields[count]}")]
            if is_wide
            else [TextColumn("{task.percentage:>3.0f}%")]
        )
        self.bar = ProgressBar(
            TextColumn("{task.description}"),
            *position,
            TextColumn("{task.fields[measured]}"),
            TextColumn("{task.fields[held_out]}"),  # of the last evaluation
            TIME_LEFT,
            console=console,
            expand=is_wide,
            disable=not console.is_terminal,
            redirect_stderr=stderr_is_terminal(),
            speed_estimate_period=RECENT,
        )
        self.bar.add_task("", **FIELDS)
        self.update()

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        print_line(self.console, text)

    def start_run(self, run: Config) -> "StudyRunProgress":
        """The progress of one run; the same object if the run has started."""
        name = self.name_of(run)
        if name not in self.running:
            self.running[name] = StudyRunProgress(self, run)
        return self.running[name]

    def finish_run(self, run: Config, failure: str | None) -> None:
        """Report that a run has finished, or why it failed."""
        name = self.name_of(run)
        if name in self.running:
            self.bar.remove_task(self.running.pop(name).bar)
        if failure is None:
            self.spent[name] = self.planned[name]
            self.num_finished += 1
            seconds = read_summary(run_folder(run))["seconds"]
            self.say(f"{name}: {read_final_errors(run_folder(run))} ({seconds:.0f} s)")
        else:
            self.planned[name] = self.spent[name]
            self.failures[name] = failure
            self.say(f"{name} failed: {failure}")
        self.update()

    def update(self) -> None:
        """Update the study's bar, and the text for lines, as in "2/4 runs, 01:05 left"."""
        task, count = self.bar.tasks[0], f"{self.num_finished}/{self.num_runs} runs"
        task.total = sum(self.planned.values())  # update(total=...) would forget the speed
        self.bar.update(task.id, completed=sum(self.spent.values()), description=count)
        self.text = ", ".join(filter(None, (count, time_left(task))))


class StudyRunProgress(Progress):
    """Shows one run within its study, which reports how the run ended."""

    def __init__(self, study: StudyProgress, run: Config) -> None:
        self.study = study
        self.run = run
        self.name = study.name_of(run)
        # Until the run resumes, its record is that of an earlier call. It may end with rows that
        # will be recorded again.
        self._stale = _record_inode(run)
        self._shown = last_checkpoint_iteration(run_folder(run))  # the last iteration shown
        self._total = 0
        self._lines = Throttle(SECONDS_BETWEEN_LINES)
        self._updates = Throttle(SECONDS_BETWEEN_UPDATES)
        self.bar = study.bar.add_task(self.name, total=None, **FIELDS)

    def advise(self, text: str) -> None:
        self.study.say(text)

    def prepare(self, what: str, done: int, total: int) -> None:
        progress, count = self.study.bar, f"{done:,}/{total:,}"
        progress.update(self.bar, completed=done, total=total, count=count, measured=what)
        if progress.disable and self._lines.is_due():
            self.study.say(f"{self.name:<18} {what} {count}")

    def begin(self, start: int, total: int, about: str = "") -> None:
        del about
        self._total = total
        self.study.planned[self.name] = self.study.costs[self.name] * (1 - start / total)
        if start > 0:
            self.study.say(f"{self.name}: resumed after {start:,} iterations")
        fields = FIELDS | {"count": f"{start}/{total}"}
        self.study.bar.reset(self.bar, total=total, completed=start, **fields)

    def advance(self, done: int) -> None:
        remaining = self.study.costs[self.name] * (1 - done / self._total)
        self.study.spent[self.name] = self.study.planned[self.name] - remaining
        if self._updates.is_due():
            self._show(done)

    def _show(self, done: int) -> None:
        self.study.bar.update(self.bar, completed=done, count=f"{done}/{self._total}")
        self.study.update()

    def row(self, row: Row) -> None:
        self._shown = row.iteration
        self.advance(row.iteration)
        self._show(row.iteration)
        errors = format_errors(row)
        self.study.bar.update(self.bar, **errors)
        if self.study.bar.disable:
            done, measured = f"{row.iteration:>6}/{self._total}", " ".join(errors.values())
            self.study.say(f"{self.name:<18} {done} {measured} [{self.study.text}]")

    def read(self) -> None:
        """Show the new rows in the record of a run in another process."""
        if self._stale is not None and _record_inode(self.run) == self._stale:
            return  # the run has not resumed yet
        self._stale = None
        rows = read_valid_rows(run_folder(self.run))
        if not rows or rows[-1].iteration <= self._shown:
            return
        last = rows[-1]
        if self._total == 0:
            length, in_epochs = parse_duration(self.run.recipe.iterations, "recipe.iterations")
            total = round(length * last.iteration / last.epoch) if in_epochs else int(length)
            self.begin(self._shown, max(1, total))
        self.row(last)


def _record_inode(run: Config) -> int | None:
    """The inode of a run's metrics.csv, which changes when the run resumes."""
    file = run_folder(run) / "metrics.csv"
    return file.stat().st_ino if file.is_file() else None
