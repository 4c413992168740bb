"""Shows the progress of a study: live bars in a terminal, plain lines elsewhere."""

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
    SECONDS_BETWEEN_LINES,
    SECONDS_BETWEEN_UPDATES,
    SPEED_WINDOW_SECONDS,
    TIME_LEFT_COLUMN,
    Progress,
    Throttle,
    format_errors,
    format_time_left,
    make_bar_column,
    stderr_is_terminal,
)
from resnet_degradation.records.metrics import Row, read_valid_rows
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import read_final_errors, read_summary

FIELDS: dict[str, Any] = {"count": "", "status": "", "held_out": ""}


class StudyProgress:
    """Shows the progress of a study and of each of its runs, and collects failures."""

    def __init__(
        self,
        console: Console,
        costs: dict[str, float],
        num_finished: int,
        unique_name: Callable[[Config], str] = run_name,
    ) -> None:
        """costs: the cost of each unfinished run, in any unit, keyed by run name.

        unique_name: returns the unique name of a run.
        """
        self.console = console
        self.unique_name = unique_name
        self.costs = costs
        self.used_cost = dict.fromkeys(costs, 0.0)  # what this command has done so far
        self.expected_cost = costs.copy()  # what this command will do in total
        self.failures: dict[str, str] = {}
        self.num_runs = num_finished + len(costs)
        self.num_finished = num_finished
        self.running: dict[str, StudyRunProgress] = {}
        is_wide = console.width >= FULL_PROGRESS_WIDTH
        position = (
            [make_bar_column(), TextColumn("{task.fields[count]}")]
            if is_wide
            else [TextColumn("{task.percentage:>3.0f}%")]
        )
        self.bar = ProgressBar(
            TextColumn("{task.description}"),
            *position,
            TextColumn("{task.fields[status]}"),
            TextColumn("{task.fields[held_out]}"),  # error of the last evaluation
            TIME_LEFT_COLUMN,
            console=console,
            expand=is_wide,
            disable=not console.is_terminal,
            redirect_stderr=stderr_is_terminal(),
            speed_estimate_period=SPEED_WINDOW_SECONDS,
        )
        self.bar.add_task("", **FIELDS)
        self.update()

    def say(self, text: str) -> None:
        """Print a line, above the bars if they are shown."""
        print_line(self.console, text)

    def start_run(self, run: Config) -> "StudyRunProgress":
        """Return the progress of a run, which is created on the first call."""
        name = self.unique_name(run)
        if name not in self.running:
            self.running[name] = StudyRunProgress(self, run)
        return self.running[name]

    def finish_run(self, run: Config, failure: str | None) -> None:
        """Report that a run has finished, or why it failed."""
        name = self.unique_name(run)
        if name in self.running:
            self.bar.remove_task(self.running.pop(name).bar)
        if failure is None:
            self.used_cost[name] = self.expected_cost[name]
            self.num_finished += 1
            seconds = read_summary(run_folder(run))["seconds"]
            self.say(f"{name}: {read_final_errors(run_folder(run))} ({seconds:.0f} s)")
        else:
            self.expected_cost[name] = self.used_cost[name]
            self.failures[name] = failure
            self.say(f"{name} failed: {failure}")
        self.update()

    def update(self) -> None:
        """Update the study's bar, and the text at the end of lines: "2/4 runs, 01:05 left"."""
        task, count = self.bar.tasks[0], f"{self.num_finished}/{self.num_runs} runs"
        task.total = sum(self.expected_cost.values())  # update(total=...) would forget the speed
        self.bar.update(task.id, completed=sum(self.used_cost.values()), description=count)
        self.text = ", ".join(filter(None, (count, format_time_left(task))))


class StudyRunProgress(Progress):
    """Shows the progress of one run; StudyProgress.finish_run reports how it ended."""

    def __init__(self, study: StudyProgress, run: Config) -> None:
        self.study = study
        self.run = run
        self.name = study.unique_name(run)
        # Until the run resumes, its metrics.csv is left over from an earlier command, and may end
        # with rows after the last checkpoint, which will be written again.
        self._stale_inode = _metrics_inode(run)
        self._last_shown = last_checkpoint_iteration(run_folder(run))  # an iteration
        self._total = 0
        self._lines = Throttle(SECONDS_BETWEEN_LINES)
        self._updates = Throttle(SECONDS_BETWEEN_UPDATES)
        self.bar = study.bar.add_task(self.name, total=None, **FIELDS)

    def advise(self, text: str) -> None:
        self.study.say(text)

    def show_preparation(self, task: str, done: int, total: int) -> None:
        progress, count = self.study.bar, f"{done:,}/{total:,}"
        progress.update(self.bar, completed=done, total=total, count=count, status=task)
        if progress.disable and self._lines.is_due():
            self.study.say(f"{self.name:<18} {task} {count}")

    def begin(self, start: int, total: int, description: str = "") -> None:
        del description
        self._total = total
        self.study.expected_cost[self.name] = self.study.costs[self.name] * (1 - start / total)
        if start > 0:
            self.study.say(f"{self.name}: resumed after {start:,} iterations")
        fields = FIELDS | {"count": f"{start}/{total}"}
        self.study.bar.reset(self.bar, total=total, completed=start, **fields)

    def advance(self, done: int) -> None:
        remaining = self.study.costs[self.name] * (1 - done / self._total)
        self.study.used_cost[self.name] = self.study.expected_cost[self.name] - remaining
        if self._updates.is_due():
            self._show(done)

    def _show(self, done: int) -> None:
        self.study.bar.update(self.bar, completed=done, count=f"{done}/{self._total}")
        self.study.update()

    def show_row(self, row: Row) -> None:
        self._last_shown = row.iteration
        self.advance(row.iteration)
        self._show(row.iteration)
        errors = format_errors(row)
        self.study.bar.update(self.bar, **errors)
        if self.study.bar.disable:
            done, status = f"{row.iteration:>6}/{self._total}", " ".join(errors.values())
            self.study.say(f"{self.name:<18} {done} {status} [{self.study.text}]")

    def read(self) -> None:
        """Show the newest row that another process has written to metrics.csv."""
        if self._stale_inode is not None and _metrics_inode(self.run) == self._stale_inode:
            return  # the run has not resumed yet
        self._stale_inode = None
        rows = read_valid_rows(run_folder(self.run))
        if not rows or rows[-1].iteration <= self._last_shown:
            return
        last = rows[-1]
        if self._total == 0:
            length, in_epochs = parse_duration(self.run.recipe.iterations, "recipe.iterations")
            total = round(length * last.iteration / last.epoch) if in_epochs else int(length)
            self.begin(self._last_shown, max(1, total))
        self.show_row(last)


def _metrics_inode(run: Config) -> int | None:
    """The inode of a run's metrics.csv; it changes when the run resumes."""
    file = run_folder(run) / "metrics.csv"
    return file.stat().st_ino if file.is_file() else None
