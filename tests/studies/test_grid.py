"""Studies that train every net at several values of a setting."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.studies import composed_study, quiet, study_of

from resnet_degradation.config.identity import run_folder
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import grid_curve, load_errors_by_setting, plot_grid
from resnet_degradation.figures.seeds import Series
from resnet_degradation.records.summary import FinalErrors
from resnet_degradation.studies.command import run_study
from resnet_degradation.studies.findings import find_cautions
from resnet_degradation.studies.grid_findings import find_grid_verdicts
from resnet_degradation.studies.results import Result
from resnet_degradation.system.errors import ConfigError, UserError

RATES = "study.grid=[{key: recipe.lr, values: [0.01, 0.1, 1.0]}]"


def test_every_net_is_trained_at_every_value_with_every_seed(tmp_path: Path) -> None:
    study = study_of(tmp_path, RATES, "seeds=[0,1]")
    points = [(run.depth, run.residual, run.recipe.lr, run.seed) for run in study.runs]
    assert len(points) == len(set(points)) == 4 * 3 * 2
    assert [seed for *_, seed in points] == [0] * 12 + [1] * 12
    assert {lr for *_, lr, _ in points} == {0.01, 0.1, 1.0}
    alone = study_of(tmp_path, "recipe.lr=0.1")
    assert set(map(run_folder, alone.runs)) < set(map(run_folder, study.runs))
    both = study_of(tmp_path, RATES.replace("}]", "}, {key: recipe.iterations, values: [6, 8]}]"))
    assert len(both.runs) == 4 * 3 * 2


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("[{key: recipe.lr, values: []}]", "study.grid: recipe.lr needs a list of values"),
        (
            "[{key: recipe.milestones, values: [[0.5], [0.6]]}]",
            "needs a list of values, each a number or a word",
        ),
        (
            "[{key: width, values: [1, 2]}]",
            "study.grid: width cannot vary: choose a setting under recipe",
        ),
        ("[{key: recipe.rate, values: [1]}]", "study.grid: recipe.rate cannot vary"),
        ("[{key: recipe.lr, values: [fast]}]", "study.grid: recipe.lr=fast is not valid"),
        (
            "[{key: seeds, values: [1]}]",
            "study.grid: seeds cannot vary",
        ),
        (
            "[{key: runtime.log_every, values: [1,2]}]",
            "study.grid: runtime.log_every cannot vary",
        ),
        ("[{key: recipe.lr, values: [-1]}]", "recipe.lr"),
    ],
)
def test_a_grid_that_is_not_valid_is_refused(tmp_path: Path, grid: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        study_of(tmp_path, f"study.grid={grid}")


def test_the_two_studies_of_the_project_are_grids() -> None:
    rates, longer = composed_study("study=learning-rates"), composed_study("study=longer")
    lrs = sorted({run.recipe.lr for run in rates.runs})
    assert len(lrs) >= 5
    assert lrs[-1] >= 100 * lrs[0]
    assert {(run.depth, run.residual) for run in rates.runs} == {
        (20, False), (56, False), (20, True), (56, True)
    }  # fmt: skip
    lengths = sorted({int(run.recipe.iterations) for run in longer.runs})
    assert [length // lengths[0] for length in lengths] == [1, 2, 4, 8]


def test_a_grid_study_draws_the_error_against_the_setting(tmp_path: Path) -> None:
    nets = "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]"
    study = study_of(tmp_path, nets, RATES, "study.figures=[grid]", "recipe.iterations=4")
    run_study(study, quiet())
    key, drawn = load_errors_by_setting([run_folder(run) for run in study.runs])
    assert key == "recipe.lr"
    assert [net.name for net in drawn] == ["plain-8-width0.5", "ResNet-8-width0.5"]
    for net in drawn:
        assert grid_curve(net, key, [0.01, 0.1, 1.0]).x.tolist() == [0.01, 0.1, 1.0]
    figure = plot_grid(key, drawn, Drawing())
    assert figure.axes[0].get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0.01", "0.1", "1"]
    report = (study.folder / "report.md").read_text()
    assert "lowest training error of each net: plain-8-width0.5 at recipe.lr=" in report
    assert "need not come from their architecture" not in report
    assert (study.folder / "grid.png").is_file()
    with pytest.raises(UserError, match="these differ in none"):
        load_errors_by_setting([run_folder(study.runs[0])])


def result(depth: int, iterations: int, error: float, seed: int = 0) -> Result:
    config = composed_study("study=longer").runs[0]
    recipe = replace(config.recipe, iterations=iterations)
    config = replace(config, depth=depth, recipe=recipe, seed=seed)
    errors = FinalErrors(error, None, error, 10_000)
    return Result(config, Path(), errors, 1, 1, iterations, 1.0, 10, False, None, {})


def test_the_gap_is_listed_with_its_noise_and_its_trend() -> None:
    errors = {(20, 100): 10.0, (20, 200): 6.0, (20, 400): 4.0,
              (56, 100): 50.0, (56, 200): 26.0, (56, 400): 14.0}  # fmt: skip
    results = [result(*net, error) for net, error in errors.items()]
    gap, best, verdict = find_grid_verdicts(results, ["recipe.iterations"])
    listed = re.sub(r" \(noise \d+\.\d\d\)", " (noise)", gap)
    assert "+40.00 (noise) at recipe.iterations=100, +20.00 (noise) at" in listed
    assert "The deeper net is worse at 3 of 3 values" in gap
    assert gap.endswith(
        "From 100 to 400 iterations, each doubling multiplies the gap by 0.50 on average"
    )
    assert best == (
        "lowest training error of each net: plain-20 at recipe.iterations=400 (4.00 %), plain-56 "
        "at recipe.iterations=400 (14.00 %)"
    )
    assert verdict.startswith("each net at its best: plain-56 minus plain-20: +10.00 points")
    assert verdict.endswith("the deeper net trains worse: degradation")


def test_a_net_may_be_best_at_another_value() -> None:
    results = [result(20, 100, 10.0), result(20, 200, 12.0), result(56, 100, 30.0),
               result(56, 200, 10.1)]  # fmt: skip
    *_, best, verdict = find_grid_verdicts(results, ["recipe.iterations"])
    assert "plain-20 at recipe.iterations=100 (10.00 %), plain-56 at recipe.iterations=200" in best
    assert "no degradation seen" in verdict
    gap = find_grid_verdicts(results, ["recipe.iterations"])[0]
    assert "better at 1 of 2" in gap
    assert "each doubling" not in gap


def test_the_setting_that_varies_is_no_reason_for_caution() -> None:
    results = [result(20, 100, 10.0), result(20, 200, 12.0)]
    assert not [c for c in find_cautions(results, ["recipe.iterations"]) if "iterations" in c]
    assert [c for c in find_cautions(results) if "recipe.iterations" in c]


def test_the_best_value_is_one_at_which_every_seed_finished() -> None:
    errors = {(100, 0): 10.0, (100, 1): 12.0, (200, 0): 1.0}  # seed 1 of 200 iterations failed
    results = [result(20, n, error, seed) for (n, seed), error in errors.items()]
    (best,) = find_grid_verdicts(results, ["recipe.iterations"])
    assert best == (
        "lowest training error of each net: plain-20 at recipe.iterations=100 (11.00 %); left "
        "out, because a seed is missing: plain-20 at recipe.iterations=200"
    )
    results = [result(20, 100, 10.0, seed=0), result(20, 200, 1.0, seed=1)]
    (best,) = find_grid_verdicts(results, ["recipe.iterations"])
    assert best.startswith("lowest training error of each net: plain-20 unclear; left out")


def test_a_grid_repeats_no_caution_about_extended_nets() -> None:
    results = [result(depth, n, 5.0) for depth in (20, 56) for n in (100, 200, 400)]
    results += [
        replace(one, config=replace(one.config, extends=20)) for one in results if one.iterations
        and one.config.depth == 56
    ]  # fmt: skip
    cautions = [c for c in find_cautions(results, ["recipe.iterations"]) if "began with" in c]
    assert cautions == [
        "plain-56-from-20 began with the solution of plain-20, so its total training includes "
        "the iterations of that net"
    ]


def test_zero_errors_have_a_place_on_a_logarithmic_axis() -> None:
    configs = [result(20, iterations, 1.0).config for iterations in (100, 200)]
    net = Series("a net", configs, [np.array([5.0]), np.array([0.0])])
    figure = plot_grid("recipe.iterations", [net], Drawing(log=True))
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 5 < high
    assert math.isfinite(high)


def test_settings_without_effect_do_not_split_a_net() -> None:
    results = []
    for depth in (20, 56):
        for augmentation, error in (("pad-crop", 5.0), ("none", 6.0)):
            one = result(depth, 100, error + depth)
            recipe = replace(one.config.recipe, augmentation=augmentation)
            results.append(replace(one, config=replace(one.config, recipe=recipe)))
    gap, best, _ = find_grid_verdicts(results, ["recipe.augmentation"])
    assert re.search(r"\+36.00 \(noise .*\) at recipe.augmentation=pad-crop, \+36.00 .*=none", gap)
    assert best.count("plain-20 at") == 1


def test_nets_without_a_seed_in_common_have_no_gap() -> None:
    results = [result(20, 100, 10.0, seed=0), result(56, 100, 30.0, seed=1)]
    (best,) = find_grid_verdicts(results, ["recipe.iterations"])
    assert best.startswith("lowest training error of each net")


def test_the_figure_needs_one_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study\.figures=\[grid\] needs exactly one setting"):
        study_of(tmp_path, "study.figures=[grid]")
