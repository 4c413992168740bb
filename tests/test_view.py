"""A study's bar adds up, whatever its runs do."""

from pathlib import Path

import pytest
from helpers import quiet, study_of
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_degradation.config import run_folder, run_name
from resnet_degradation.runs import Row, write_metrics
from resnet_degradation.study.view import StudyView


def row(iteration: int) -> Row:
    return Row(iteration, iteration / 45, 0.1, 1.0, 50.0, None, None, 100.0, 1.0 * iteration)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 10)), min_size=4, max_size=4))
def test_what_failed_or_was_done_before_is_not_to_be_done(
    steps: list[tuple[int, int]],
) -> None:
    study = study_of(Path("nowhere"))
    costs = {run_name(run): 100.0 * (number + 1) for number, run in enumerate(study.runs)}
    view = StudyView(quiet(), costs, 0)
    assert view.work() == (0, sum(costs.values()))
    expected = sum(costs.values())
    for run, (start, more) in zip(study.runs, steps, strict=True):
        cost = costs[run_name(run)]
        of_run = view.of(run)
        of_run.begin(start, 20, "")
        expected -= cost * start / 20
        assert view.work()[1] == pytest.approx(expected)
        of_run.advance(start + more)
        assert view.work()[1] == pytest.approx(expected)
        view.over(run, "it was not to be")
        expected -= cost * (20 - start - more) / 20
        done, total = view.work()
        assert total == pytest.approx(expected)
        assert done <= total + 1e-9
    assert view.work()[0] == pytest.approx(view.work()[1])


def test_rows_of_an_earlier_call_are_no_progress_of_this_one(tmp_path: Path) -> None:
    (run, *_) = study_of(tmp_path, "recipe.iterations=100").runs
    folder = run_folder(run)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/iteration-000000050.pt").touch()
    write_metrics(folder, [row(10), row(50), row(90)])
    view = StudyView(quiet(), {run_name(run): 10.0}, 0)
    of_run = view.of(run)
    of_run.read()
    assert view.work()[0] == 0
    write_metrics(folder, [row(10), row(50)])  # cut back to the checkpoint
    of_run.read()
    assert view.work()[0] == 0
    write_metrics(folder, [row(10), row(50), row(60)])
    of_run.read()
    assert view.work() == (pytest.approx(1), pytest.approx(5))
