"""A study runs its nets, draws from files alone, and says what came out, whatever it is."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from resnet_degradation.verdict import compare, counting_noise, depth_verdict, shortcut_verdict
from rich.console import Console

from resnet_degradation.cli import config_folder, register_schemas
from resnet_degradation.config import Config, DataConfig, run_folder, settle
from resnet_degradation.errors import ConfigError, UserError
from resnet_degradation.figures.curves import caption, load_curves
from resnet_degradation.figures.style import COLOURS
from resnet_degradation.runs import find_runs, read_metrics, write_metrics
from resnet_degradation.study import (
    Result,
    Study,
    find_verdicts,
    read_result,
    resolve_study,
    run_study,
)

SCRIPT = Path(__file__).parents[1] / "scripts" / "plot_curves.py"
TINY = (
    "study.nets=[{depth: 8, residual: false}, {depth: 14, residual: false}, "
    "{depth: 8, residual: true}, {depth: 14, residual: true}]",
    "data.image_size=8",
    "recipe.iterations=6",
    "recipe.batch_size=32",
    "recipe.pad=1",
    "width=0.5",
    "runtime.eval_every=2",
    "runtime.log_every=2",
)


def study_of(tmp_path: Path, *overrides: str) -> Study:
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        given_overrides = [*TINY, f"output_dir={tmp_path / 'outputs'}", *overrides]
        return resolve_study(compose("study_config", overrides=given_overrides))


def quiet() -> Console:
    return Console(quiet=True)


def test_the_quick_study_is_plain_and_residual_20_and_56() -> None:
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        study = resolve_study(compose("study_config", overrides=["seeds=[0,1]"]))
    nets = [(run.depth, run.residual, run.seed) for run in study.runs]
    one_seed = [(20, False), (56, False), (20, True), (56, True)]
    assert nets == [(depth, residual, seed) for seed in (0, 1) for depth, residual in one_seed]
    assert {run.data.name for run in study.runs} == {"digits"}


def test_a_study_leaves_figure_table_and_index(tmp_path: Path) -> None:
    study = study_of(tmp_path, "seeds=[0,1]")
    run_study(study, quiet())
    assert (study.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (study.folder / "curves.svg").read_text()
    with (study.folder / "results.csv").open(newline="") as stream:
        results = list(csv.DictReader(stream))
    assert [row["net"] for row in results[:4]] == [
        f"{kind}-{depth}-width0.5" for kind in ("plain", "ResNet") for depth in (8, 14)
    ]
    assert len(results) == 8
    index = json.loads((study.folder / "study.json").read_text())
    assert len(index["runs"]) == 8
    assert len(index["verdicts"]) == 3
    assert [path.resolve() for path in find_runs(study.folder)] == [
        read_result(run).folder.resolve() for run in study.runs
    ]


def test_figures_are_drawn_from_the_record_alone(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    drawn = {name: (study.folder / name).read_bytes() for name in ("curves.png", "curves.svg")}
    for checkpoint in tmp_path.rglob("*.pt"):
        checkpoint.unlink()
    for events in tmp_path.rglob("events.out.tfevents.*"):
        events.unlink()
    redrawn = subprocess.run(
        [
            *(sys.executable, SCRIPT, study.folder),
            *("--output", tmp_path / "again", "--title", study.title),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert redrawn.stdout.split() == [str(tmp_path / "again.png"), str(tmp_path / "again.svg")]
    for name, content in drawn.items():
        assert (tmp_path / name.replace("curves", "again")).read_bytes() == content


def test_a_repeated_study_runs_nothing_again(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    before = {run.depth: read_result(run).seconds for run in study.runs}
    records = [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("metrics.csv"))]
    run_study(study, quiet())
    assert [f.stat().st_mtime_ns for f in sorted(tmp_path.rglob("metrics.csv"))] == records
    assert {run.depth: read_result(run).seconds for run in study.runs} == before


def test_a_failed_run_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    blocked = run_folder(study.runs[0])
    blocked.mkdir(parents=True)
    (blocked / "checkpoints").mkdir()
    (blocked / "checkpoints/iteration-000000005.pt").write_bytes(b"no checkpoint")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(UserError, match="1 of 4 runs failed"),
    ):
        run_study(study, quiet())
    assert [read_result(run).config.depth for run in study.runs[1:]] == [14, 8, 14]
    assert (study.folder / "curves.png").exists()
    assert len(json.loads((study.folder / "study.json").read_text())["runs"]) == 3


def test_a_study_needs_seeds_and_each_run_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        study_of(tmp_path, "seeds=[]")
    with pytest.raises(ConfigError, match="the same run twice: plain-8"):
        study_of(tmp_path, "seeds=[0,0]")
    with pytest.raises(ConfigError, match="no name for a folder"):
        study_of(tmp_path, "study.name=../elsewhere")


def test_a_run_named_twice_is_drawn_once(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    folders = find_runs(study.folder) + find_runs(tmp_path / "outputs" / "digits")
    assert [net.num_seeds for net in load_curves(folders)] == [1] * 4


def test_runs_without_a_common_iteration_cannot_be_averaged(tmp_path: Path) -> None:
    for seed, interval in ((0, 5), (1, 4)):
        study = study_of(tmp_path, f"seeds=[{seed}]", "recipe.iterations=6")
        run_study(study, quiet())
        for run in study.runs:
            rows = [row for row in read_metrics(run_folder(run)) if row.iteration == interval + 1]
            write_metrics(run_folder(run), rows or read_metrics(run_folder(run))[:1])
    with pytest.raises(UserError, match="no recorded iteration in common"):
        load_curves(find_runs(tmp_path / "outputs"))


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json is no index of a study"):
        find_runs(tmp_path)


def test_curves_average_over_seeds_at_the_iterations_that_all_recorded(tmp_path: Path) -> None:
    study = study_of(tmp_path, "seeds=[0,1,2]")
    run_study(study, quiet())
    nets = load_curves(find_runs(study.folder))
    assert [net.num_seeds for net in nets] == [3] * 4
    plain = nets[0]
    runs = [read_metrics(read_result(run).folder) for run in study.runs if run.depth == 8]
    errors = [rows[-1].train_error for rows in runs[0::2]]
    assert plain.train.mean[-1] == pytest.approx(sum(errors) / 3)
    assert plain.train.iterations.tolist() == [2, 4, 6]
    assert plain.held_out_name == "validation"
    assert "3 seeds" in caption(nets)
    assert "digits 8x8" in caption(nets)


def test_runs_that_differ_in_more_than_the_seed_are_kept_apart(tmp_path: Path) -> None:
    for rate in ("0.01", "0.02"):
        run_study(study_of(tmp_path, f"recipe.lr={rate}"), quiet())
    nets = load_curves(find_runs(tmp_path / "outputs"))
    assert len(nets) == 8
    assert {net.name for net in nets if net.config.depth == 8 and net.config.residual} == {
        "ResNet-8-width0.5 (lr 0.01)",
        "ResNet-8-width0.5 (lr 0.02)",
    }


@pytest.mark.parametrize("content", ["", "iteration,epoch\n1,2\n", "nonsense"])
def test_what_is_no_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        find_runs(tmp_path)


# --- verdicts ---

ERRORS = st.floats(0, 100)


def test_the_verdict_is_the_difference_of_means() -> None:
    comparison = compare("plain-20", "plain-56", [4.0, 6.0, 5.0], [67.0, 59.0, 64.0], 1000)
    assert comparison.differences == [63, 53, 59]
    assert comparison.mean == pytest.approx(58.333, abs=1e-3)
    assert comparison.noise == pytest.approx(2.906, abs=1e-3)  # 5.033 / sqrt(3)
    assert comparison.threshold == pytest.approx(12.50, abs=1e-2)  # 4.303 times the noise
    said = depth_verdict(comparison)
    assert said.startswith("plain-56 minus plain-20: +58.33 ± 5.03 points")
    assert "3 seeds" in said
    assert said.endswith("degradation")


@given(ERRORS, ERRORS)
def test_swapping_the_nets_swaps_the_verdict(first: float, second: float) -> None:
    one = compare("a", "b", [first], [second], 1000)
    other = compare("b", "a", [second], [first], 1000)
    assert one.mean == -other.mean
    swapped = {"worse": "better", "better": "worse", "alike": "alike"}
    assert other.outcome == swapped[one.outcome]


@given(ERRORS)
def test_equal_errors_are_alike(error: float) -> None:
    assert compare("a", "b", [error, error], [error, error], 500).outcome == "alike"


def test_a_verdict_contradicts_the_paper_when_the_runs_do() -> None:
    better = compare("plain-20", "plain-56", [40.0], [20.0], 1000)
    assert "the deeper net trains better" in depth_verdict(better)
    worse = compare("plain-56", "ResNet-56", [20.0], [40.0], 1000)
    assert "the residual net trains worse" in shortcut_verdict(worse, cured=False)


def finished(depth: int, residual: bool, error: float, seed: int = 0) -> Result:
    config = settle(Config(depth=depth, residual=residual, seed=seed, data=DataConfig("digits")))
    return Result(config, Path(), error, None, 1, 1, 1.0, 1000)


@pytest.mark.parametrize(
    ("plain", "residual", "said"),
    [
        ((5, 70), (2, 2), "the shortcuts cure it"),
        ((40, 20), (10, 10), "the residual net trains better"),  # there was nothing to cure
        ((5, 70), (2, 40), "the residual net trains better"),  # and here it is not cured
    ],
)
def test_a_cure_needs_a_disease_and_health(
    plain: tuple[float, float], residual: tuple[float, float], said: str
) -> None:
    results = [
        finished(depth, kind, error)
        for kind, errors in ((False, plain), (True, residual))
        for depth, error in zip((20, 56), errors, strict=True)
    ]
    assert find_verdicts(results)[-1].endswith(said)


def test_nets_are_compared_over_the_seeds_that_both_have() -> None:
    results = [finished(20, False, 5, seed) for seed in (0, 1)] + [finished(56, False, 70, 1)]
    (verdict,) = find_verdicts(results)
    assert "+65.00 points" in verdict
    assert "one seed" in verdict


def test_small_differences_are_not_called_differences() -> None:
    assert compare("a", "b", [1.0], [1.2], 1472).outcome == "alike"
    assert counting_noise(50, 2500) == pytest.approx(1.0)
    assert counting_noise(0, 1000) > 0


def test_the_nets_of_one_figure_of_the_paper_have_different_colours() -> None:
    for depths in ((20, 32, 44, 56, 110), (110, 1202), (18, 34), (18, 34, 50, 101, 152)):
        assert len({COLOURS[depth] for depth in depths}) == len(depths)


@pytest.mark.slow
def test_the_quick_figure_shows_degradation_and_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        overrides = [f"output_dir={tmp_path}"]
        study = resolve_study(compose("study_config", overrides=overrides))
    run_study(study, Console(width=100))
    results = [read_result(run) for run in study.runs]
    errors = {(r.config.depth, r.config.residual): r.train_error for r in results}
    assert errors[56, False] > errors[20, False] + 20
    assert errors[56, True] < 0.5 * errors[56, False]
    assert errors[56, True] < 10
    said = " ".join(capsys.readouterr().out.split())
    assert "degradation" in said
    assert "the shortcuts cure it" in said
    assert str(tmp_path / "studies" / "quick" / "curves.png") in said
    assert (study.folder / "curves.png").stat().st_size > 20_000
