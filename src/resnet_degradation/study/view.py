"""One view of a whole study: live bars in a terminal, plain lines elsewhere, and the time left."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from resnet_degradation.config import Config, run_folder, run_name
from resnet_degradation.runs import (
    Row,
    last_checkpoint,
    read_final_errors,
    read_summary,
    read_whole_rows,
)
from resnet_degradation.train.progress import Errors, clock

# Seconds between updates of the study's own bar, from which its speed is estimated.
TICK = 1.0


class StudyView:
    """Shows how far the runs of a study are, each and together."""

    def __init__(self, console: Console, costs: dict[str, float], num_finished: int) -> None:
        """costs: what each run that is not finished costs, by its name, in any one unit."""
        self.console = console
        self.costs = costs
        self.num_runs = num_finished + len(costs)
        self.num_finished = num_finished
        self.running: dict[str, RunView] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            disable=not console.is_terminal,
            speed_estimate_period=600,
        )
        total = sum(costs.values())
        self.task = self.progress.add_task("", total=total, count="", measured="time left")
        self._ticked = time.monotonic()
        self._finished_cost = 0.0
        self._describe()

    def __enter__(self) -> "StudyView":
        self.progress.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def of(self, run: Config) -> "RunView":
        """The view of one of its runs."""
        return self.running.setdefault(run_name(run), RunView(self, run))

    def over(self, run: Config, failure: str | None) -> None:
        """A run has come to its end, or failed for a reason."""
        name = run_name(run)
        view = self.running.pop(name, None)
        share = view.share if view is not None else 0.0
        if view is not None:
            view.end()
        if failure is None:
            self.num_finished += 1
            self._finished_cost += self.costs[name] * (1 - (view.skipped if view else 0.0))
            seconds = read_summary(run_folder(run))["seconds"]
            self.say(f"{name}: {read_final_errors(run_folder(run))} ({seconds:.0f} s)")
        else:
            self._finished_cost += self.costs[name] * share
            self.forget(self.costs[name] * (1 - share))
            self.say(f"{name} failed: {failure}")
        self.tick(force=True)

    def forget(self, cost: float) -> None:
        """Take a cost out of what is to be done, as it was done earlier or never will be."""
        total = self.progress.tasks[0].total or 0.0
        self.progress.update(self.task, total=max(total - cost, 0.0))

    def tick(self, force: bool = False) -> None:
        """Bring the study's own bar up to date."""
        now = time.monotonic()
        if force or now - self._ticked >= TICK:
            self._ticked = now
            running = sum(self.costs[name] * view.share for name, view in self.running.items())
            self.progress.update(self.task, completed=self._finished_cost + running)
            self._describe()

    def told(self) -> str:
        """How far the study is, in a few words."""
        left = self.progress.tasks[0].time_remaining
        time_left = "" if left is None else f", {clock(left)} left"
        return f"{self.num_finished}/{self.num_runs} runs{time_left}"

    def _describe(self) -> None:
        self.progress.update(self.task, description=f"{self.num_finished}/{self.num_runs} runs")


class RunView:
    """Shows one run within its study; see train.progress.View."""

    def __init__(self, study: StudyView, run: Config) -> None:
        self.study = study
        self.run = run
        self.share = 0.0  # of the run's cost, done within this call of the study
        self.skipped = 0.0  # done before
        self._start = 0
        self._total = 0
        # The last iteration of which a row was shown; what is not in a checkpoint is run again.
        self._shown = last_checkpoint(run_folder(run))
        self._task: TaskID | None = None
        self._errors = Errors()

    def say(self, text: str) -> None:
        """Leave it to the study to say how the run ended."""

    def begin(self, start: int, total: int, about: str) -> None:
        """Show a run of which `start` of `total` iterations are done; the report says the rest."""
        del about
        self._start, self._total, self._shown = start, total, start
        self.skipped = start / total
        if start > 0:
            self.study.say(f"{run_name(self.run)}: resumed after {start:,} iterations")
            self.study.forget(self.study.costs[run_name(self.run)] * self.skipped)
        self._task = self.study.progress.add_task(
            run_name(self.run), total=total, completed=start, count="", measured=""
        )
        self.advance(start)

    def advance(self, done: int) -> None:
        """`done` iterations are done."""
        self.share = (done - self._start) / self._total
        if self._task is not None:
            count = f"{done}/{self._total}"
            self.study.progress.update(self._task, completed=done, count=count)
        self.study.tick()

    def row(self, row: Row) -> None:
        """Show a new row of the record."""
        self._shown = row.iteration
        measured = self._errors.told(row)
        if self._task is not None:
            self.study.progress.update(self._task, measured=measured)
        if self.study.progress.disable:
            done = f"{row.iteration:>6}/{self._total}"
            self.study.say(f"{run_name(self.run):<18} {done} {measured} [{self.study.told()}]")

    def end(self) -> None:
        """Take the run's bar away."""
        if self._task is not None:
            self.study.progress.remove_task(self._task)
            self._task = None

    def read(self) -> None:
        """Show what the record of a run in another process holds beyond what was shown."""
        new = [row for row in read_whole_rows(run_folder(self.run)) if row.iteration > self._shown]
        if new:
            if self._task is None:
                self.begin(self._shown, _length(self.run, new[-1]), "")
            self.advance(new[-1].iteration)
            self.row(new[-1])


def _length(run: Config, row: Row) -> int:
    """The iterations of a run, told from its configuration and a row of its record."""
    length = run.recipe.iterations
    if isinstance(length, int):
        return length
    epochs = float(str(length).removesuffix("ep"))
    return max(1, round(epochs * row.iteration / row.epoch))
