"""The progress bar of a study adds up; the time left is estimated from the recent speed."""

import builtins
import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.studies import quiet, study_of

from resnet_degradation.config.identity import run_folder, run_name
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.console.terminal import Terminal
from resnet_degradation.records.metrics import Row, write_metrics
from resnet_degradation.studies.progress import StudyProgress


def row(iteration: int) -> Row:
    return Row(iteration, iteration / 45, 0.1, 1.0, 50.0, None, None, 100.0, 1.0 * iteration)


def work(view: StudyProgress) -> tuple[float, float]:
    """The cost so far, and the total cost, of this call's part of the study."""
    return sum(view.used_cost.values()), sum(view.expected_cost.values())


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10)), min_size=4, max_size=4))
def test_what_failed_or_was_done_before_is_not_to_be_done(
    steps: list[tuple[int, int]],
) -> None:
    study = study_of(Path("nowhere"))
    costs = {run_name(run): 100.0 * (number + 1) for number, run in enumerate(study.runs)}
    view = StudyProgress(quiet(), costs, 0)
    assert work(view) == (0, sum(costs.values()))
    expected = sum(costs.values())
    for run, (start, more) in zip(study.runs, steps, strict=True):
        cost = costs[run_name(run)]
        of_run = view.start_run(run)
        of_run.begin(start, 20, "")
        expected -= cost * start / 20
        assert work(view)[1] == pytest.approx(expected)
        of_run.advance(start + more)
        assert work(view)[1] == pytest.approx(expected)
        view.finish_run(run, "it was not to be")
        expected -= cost * (20 - start - more) / 20
        done, total = work(view)
        assert total == pytest.approx(expected)
        assert done <= total + 1e-9
    assert work(view)[0] == pytest.approx(work(view)[1])


def test_rows_of_an_earlier_call_are_no_progress_of_this_one(tmp_path: Path) -> None:
    (run, *_) = study_of(tmp_path, "recipe.iterations=100").runs
    folder = run_folder(run)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/iteration-000000050.pt").touch()
    write_metrics(folder, [row(10), row(50), row(90)])
    view = StudyProgress(quiet(), {run_name(run): 10.0}, 0)
    of_run = view.start_run(run)
    of_run.read()
    assert work(view)[0] == 0
    # Resuming removes the rows after the checkpoint.
    write_metrics(folder, [row(10), row(50)])
    of_run.read()
    assert work(view)[0] == 0
    write_metrics(folder, [row(10), row(50), row(60)])
    of_run.read()
    assert work(view) == (pytest.approx(1), pytest.approx(5))


Wait = Callable[[float], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """A function that advances a simulated clock."""
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return advance


def at(iteration: int, seconds: float) -> Row:
    """A row after this many iterations and seconds of the run."""
    return Row(iteration, iteration / 45, 0.1, 1.0, 50.0, None, None, 100.0, seconds)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_left_of_a_resumed_run_is_by_its_speed_since_then(
    wait: Wait, terminal: bool
) -> None:
    """9,000 iterations took 9,000 s on another machine; here, an iteration takes 0.1 s."""
    shown = io.StringIO()
    console = Console(
        file=shown,
        force_terminal=terminal,
        color_system=None,
        width=100,
        get_time=time.monotonic,
    )
    progress = RunProgress(console)
    progress.begin(9000, 10000, "resumed")
    for done in range(9001, 9101):
        wait(0.1)
        progress.advance(done)
    progress.show_row(at(9100, 9010.0))
    progress.end()
    assert re.search("01:3[01] left", shown.getvalue())  # rich rounds up


def test_the_time_left_forgets_what_is_more_than_ten_minutes_ago(wait: Wait) -> None:
    shown = io.StringIO()
    progress = RunProgress(Console(file=shown, get_time=time.monotonic))
    progress.begin(0, 2000, "another program takes the cores for half an hour")
    for done in range(1, 1901):
        wait(2 if done <= 900 else 1)
        progress.advance(done)
        if done in (900, 1900):
            progress.show_row(at(done, 0.0))
    during, after = [line for line in shown.getvalue().splitlines() if "/2000" in line]
    assert during.endswith("36:40 left")
    assert after.endswith("01:40 left")


def test_no_time_left_is_shown_before_there_is_a_speed(wait: Wait) -> None:
    shown = io.StringIO()
    progress = RunProgress(Console(file=shown))
    progress.begin(50, 100, "")
    progress.show_row(at(50, 7.0))  # the evaluation due at the checkpoint, measured on resuming
    assert "left" not in shown.getvalue()
    assert shown.getvalue().endswith("images/s\n")


def test_a_study_estimates_the_time_left_by_the_recent_speed_of_this_call(
    tmp_path: Path, wait: Wait
) -> None:
    """An earlier call did half of one run; then the machine is three times slower."""
    study = study_of(tmp_path)
    shown = io.StringIO()
    view = StudyProgress(
        Console(file=shown, width=100, get_time=time.monotonic),
        {run_name(r): 1000.0 for r in study.runs},
        0,
    )
    first, *_ = (view.start_run(run) for run in study.runs)
    first.begin(500, 1000, "")
    for done in range(501, 751):
        wait(1)
        first.advance(done)
    assert view.text == "0/4 runs, 54:10 left"  # 3,250 units, each of 1 s
    for done in range(751, 1001):
        wait(3)
        first.advance(done)
    assert view.text.startswith("0/4 runs, 2:30:0")  # 3,000 units, each of 3 s


def test_a_run_in_another_process_is_timed_by_its_rows(tmp_path: Path, wait: Wait) -> None:
    (run, *_) = study_of(tmp_path, "recipe.iterations=100").runs
    folder = run_folder(run)
    folder.mkdir(parents=True)
    console = Console(file=io.StringIO(), force_terminal=True, get_time=time.monotonic)
    view = StudyProgress(console, {run_name(run): 100.0}, 0)
    of_run = view.start_run(run)
    for rows in ([row(20)], [row(20), row(40)]):
        wait(60)
        write_metrics(folder, rows)
        of_run.read()
    assert view.text == "0/1 runs, 03:00 left"


class ZMQInteractiveShell:
    """Make rich believe that it runs in a notebook."""


def test_a_notebook_gets_lines_although_its_kernel_asks_for_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    progress = RunProgress(Terminal())
    progress.begin(0, 20, "a run")
    progress.advance(5)
    progress.show_row(row(10))
    progress.end()
    about, line = capsys.readouterr().out.splitlines()
    assert about == "a run"
    assert line.startswith("     10/20 train 50.0%")
    Terminal(quiet=True).print("nothing")
    assert not capsys.readouterr().out
