"""Figures are drawn from files alone, have names for all lines, and look the same everywhere."""

import csv
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterMathtext
from support.figures import SCRIPT, finished_run, plot
from support.studies import quiet, study_of
from support.training import Tiny, TrainRun, interrupt
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import (
    Config,
    DataConfig,
    PanelConfig,
    RecipeConfig,
    RuntimeConfig,
)
from resnet_degradation.console.progress import NullProgress
from resnet_degradation.figures.curves import NetCurves, load_curves, plot_curves
from resnet_degradation.figures.depths import load_errors_by_depth, plot_depths
from resnet_degradation.figures.drawing import Drawing, adjust_drawing, read_drawing
from resnet_degradation.figures.inspection import load_responses, responses_title
from resnet_degradation.figures.labels import compose_caption, describe_conditions, separate_boxes
from resnet_degradation.figures.registry import FIGURES
from resnet_degradation.figures.seeds import Curve, Series
from resnet_degradation.figures.style import choose_colours, save_figure
from resnet_degradation.nets.build import initialize
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.responses import measure_responses
from resnet_degradation.records.layers import read_responses
from resnet_degradation.records.metrics import Row, read_metrics, write_metrics
from resnet_degradation.records.run_folder import find_runs
from resnet_degradation.studies.command import run_study
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.results import read_result
from resnet_degradation.system.errors import ConfigError, UserError
from resnet_degradation.training import session


def train_runs(study: Study) -> list[Path]:
    """Train the runs of a study, without its report and figures; return their folders."""
    return [session.train(run, NullProgress()) for run in study.runs]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study; no test changes its folder."""
    study = study_of(tmp_path_factory.mktemp("finished"))
    run_study(study, quiet())
    return study


@pytest.mark.long
def test_figures_are_drawn_from_the_record_alone(tmp_path: Path) -> None:
    study = study_of(tmp_path, "study.figures=[curves,responses]", "study.dashed=true")
    run_study(study, quiet())
    files = sorted(file for file in study.folder.iterdir() if file.suffix != ".csv")
    drawn = {file: file.read_bytes() for file in files}
    assert len([file for file in files if file.suffix in (".png", ".svg", ".pdf")]) == 6
    for pattern in ("*.pt", "events.out.tfevents.*"):
        for file in tmp_path.rglob(pattern):
            file.unlink()
    run_study(study, quiet())
    for file, content in drawn.items():
        assert file.read_bytes() == content, file
    command = [sys.executable, SCRIPT, study.folder, "--output", tmp_path / "again"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / f"again.{end}") for end in ("png", "svg", "pdf")]
    for end in ("png", "svg", "pdf"):
        again = (tmp_path / f"again.{end}").read_bytes()
        assert again == drawn[study.folder / f"curves.{end}"]


def test_a_run_named_twice_is_drawn_once(finished: Study) -> None:
    outputs = run_folder(finished.runs[0]).parent
    folders = find_runs(finished.folder) + find_runs(outputs)
    assert [net.num_seeds for net in load_curves(folders)] == [1] * 4


@pytest.mark.long
def test_runs_without_a_common_iteration_cannot_be_averaged(tmp_path: Path) -> None:
    for seed, interval in ((0, 5), (1, 4)):
        study = study_of(tmp_path, f"seeds=[{seed}]", "recipe.iterations=6")
        for folder in train_runs(study):
            rows = [row for row in read_metrics(folder) if row.iteration == interval + 1]
            write_metrics(folder, rows or read_metrics(folder)[:1])
    with pytest.raises(UserError, match="no recorded iteration in common"):
        load_curves(find_runs(tmp_path / "outputs"))


def test_an_unfinished_run_is_marked(tiny: Tiny, train_run: TrainRun) -> None:
    interrupt(tiny("seed=0"), after=9)
    folders = [train_run(tiny("depth=14")), run_folder(tiny("seed=0"))]
    names = [net.name for net in load_curves(folders)]
    assert names == ["ResNet-14-width0.5", "ResNet-8-width0.5 (unfinished)"]


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json is not a valid study\.json"):
        find_runs(tmp_path)
    with pytest.raises(UserError, match=r"study\.json is not a valid study\.json"):
        read_drawing(tmp_path)


@pytest.mark.long
def test_curves_average_over_seeds_at_the_iterations_that_all_recorded(tmp_path: Path) -> None:
    study = study_of(tmp_path, "seeds=[0,1,2]")
    folders = train_runs(study)
    nets = load_curves(folders)
    assert [net.num_seeds for net in nets] == [3] * 4
    plain = nets[0]
    runs = [read_metrics(read_result(run).folder) for run in study.runs if run.depth == 8][0::2]
    errors = [rows[-1].train_error for rows in runs]
    assert plain.train.mean[-1] == pytest.approx(np.mean(errors))
    assert plain.train.spread[-1] == pytest.approx(np.std(errors, ddof=1))
    assert plain.train.x.tolist() == [2, 4, 6]
    assert plain.held_out_name == "validation"
    (caption,) = (text.get_text() for text in plot_curves(nets).texts)
    caption = " ".join(caption.split())
    for part in ("digits 8x8", "6 iterations of 32 images", "rate 0.01", "50% and 75%", "3 seeds"):
        assert part in caption
    (smoothed, *_) = load_curves(folders, x="epoch", smooth=2)
    last_two = [[row.train_error for row in rows[-2:]] for rows in runs]
    assert smoothed.train.mean[-1] == pytest.approx(np.mean(last_two))
    assert smoothed.train.x[-1] == pytest.approx(6 * 32 / 1437)
    assert smoothed.held_out.mean.tolist() == plain.held_out.mean.tolist()


@pytest.mark.long
def test_runs_that_differ_in_more_than_the_seed_are_kept_apart(tmp_path: Path) -> None:
    for lr in ("0.01", "0.02"):
        train_runs(study_of(tmp_path, f"recipe.lr={lr}"))
    nets = load_curves(find_runs(tmp_path / "outputs"))
    assert len(nets) == 8
    twins = [net for net in nets if net.config.depth == 8 and net.config.residual]
    assert {net.name for net in twins} == {
        "ResNet-8-width0.5 (lr 0.01)",
        "ResNet-8-width0.5 (lr 0.02)",
    }
    assert len(set(choose_colours([net.config for net in twins]))) == 2


@pytest.mark.long
def test_series_that_differ_in_more_than_depth_are_named_after_it(tmp_path: Path) -> None:
    folders = train_runs(study_of(tmp_path))
    nets = "[{depth: 8, residual: true, shortcut: B}, {depth: 8, residual: false, width: 1}]"
    folders += train_runs(study_of(tmp_path, f"study.nets={nets}"))
    series = load_errors_by_depth(folders)
    assert {one.name: depths_of(one) for one in series} == {
        "plain nets (width 0.5)": [8, 14],
        "plain nets (width 1.0)": [8],
        "residual nets (shortcut A)": [8, 14],
        "residual nets (shortcut B)": [8],
    }


def depths_of(series: Series) -> list[int]:
    return [config.depth for config in series.configs]


def means_of(series: Series) -> list[float]:
    return [float(errors.mean()) for errors in series.errors]


def warm_up(when: str) -> RecipeConfig:
    return RecipeConfig(warmup=when)


def test_a_warm_up_from_110_layers_on_splits_no_series_and_is_mentioned(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{depth}{residual}", depth / 2, depth=depth, residual=residual)
        for depth in (110, 20, 56)
        for residual in (False, True)
    ]
    series = load_errors_by_depth(folders)
    assert {one.name: depths_of(one) for one in series} == {
        "plain nets": [20, 56, 110],
        "residual nets": [20, 56, 110],
    }
    assert means_of(series[0]) == [10, 28, 55]
    caption, *_ = (text.get_text() for text in plot_depths(series, Drawing()).texts)
    said = " ".join(caption.split())
    assert said.endswith("recipe.warmup is never for 20, 56 and always for 110 layers")


def test_series_of_other_warm_ups_are_kept_apart_where_they_share_a_depth(tmp_path: Path) -> None:
    def series(*runs: tuple[int, str]) -> dict[str, list[float]]:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        folders = [
            finished_run(folder / str(i), 10 + i, depth=depth, recipe=warm_up(when))
            for i, (depth, when) in enumerate(runs)
        ]
        return {one.name: depths_of(one) for one in load_errors_by_depth(folders)}

    assert series((20, "always"), (56, "always"), (110, "always")) == {
        "residual nets": [20, 56, 110]
    }
    assert series((20, "never"), (110, "never")) == {"residual nets": [20, 110]}
    assert series((20, "auto"), (20, "always"), (110, "auto")) == {
        "residual nets (warmup never)": [20],
        "residual nets (warmup always)": [20, 110],
    }


def test_nets_of_the_imagenet_family_are_one_series_with_their_usual_shortcuts(
    tmp_path: Path,
) -> None:
    usual = [
        finished_run(tmp_path / str(depth), 30, cifar=False, depth=depth) for depth in (18, 34, 50)
    ]
    (one,) = load_errors_by_depth(usual)
    assert (one.name, depths_of(one)) == ("residual nets", [18, 34, 50])
    caption, *_ = (text.get_text() for text in plot_depths([one], Drawing()).texts)
    said = " ".join(caption.split())
    assert "shortcut is A for 18, 34 and B for 50 layers" in said
    assert "the block is basic for 18, 34 and bottleneck for 50 layers" in said
    other = finished_run(tmp_path / "B", 20, cifar=False, depth=34, shortcut="B")
    assert {tuple(depths_of(one)) for one in load_errors_by_depth([*usual, other])} == {
        (18, 34),
        (34, 50),
    }


def test_a_series_averages_no_other_nets_as_if_they_were_seeds(tmp_path: Path) -> None:
    nets = {"1x1": 20.0, "3x3": 30.0}
    folders = [
        finished_run(tmp_path / stride, error, cifar=False, depth=50, bottleneck_stride=stride)
        for stride, error in nets.items()
    ]
    series = load_errors_by_depth(folders)
    assert {one.name: means_of(one) for one in series} == {
        f"residual nets (bottleneck_stride {stride})": [error] for stride, error in nets.items()
    }


@pytest.mark.long
def test_options_of_the_script_change_the_figure(finished: Study, tmp_path: Path) -> None:
    svg = tmp_path / "figure.svg"

    def drawn(*options: str) -> str:
        done = plot(finished.folder, "--output", tmp_path / "figure", "--formats", "svg", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(svg)]
        return svg.read_text()

    usual = drawn()
    assert "plain nets" in usual
    assert ">iterations<" in usual
    assert ">epochs<" in drawn("--x", "epoch")
    assert "plain nets" not in drawn("--together")
    assert "mean over 2 rows" in drawn("--smooth", "2")
    assert "another title" in drawn("--title", "another title")
    assert "(ends at" in drawn("--y-max", "5")
    assert drawn("--log") != usual
    assert drawn("--dashed") != usual
    assert "training error" not in drawn("--errors", "held-out")
    for mistake in (["--smooth", "0"], ["--y-max", "-3"], ["--x", "time"], ["--width", "50"]):
        refused = plot(finished.folder, *mistake)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"smooth": 0}, "smooth=0 is not valid: it must be a whole number of at least 1"),
        ({"smooth": 2.5}, "smooth=2.5 is not valid"),
        ({"y_max": -1.0}, "y_max=-1.0 is not valid: it must be a number above 0"),
        ({"y_max": float("nan")}, "y_max=nan is not valid"),
        ({"width": 0}, "width=0 is not valid: it must be 1 to 40"),
        ({"width": "wide"}, "width='wide' is not valid: it must be 1 to 40 (inches), column or"),
        ({"y_max": "50"}, "y_max='50' is not valid: it must be a number above 0"),
    ],
)
def test_numbers_of_a_drawing_have_ranges(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        adjust_drawing(Drawing(), **settings)
    assert adjust_drawing(Drawing(), smooth=1, y_max=100, width=3.3).width == 3.3
    assert adjust_drawing(Drawing(), width="column").width == 3.3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("depths --x epoch --errors training --together", "--x, --errors, --together"),
        ("responses --log --smooth 0 --y-max 5 --title given", "--smooth, --log, --y-max"),
        ("grid --dashed --log --width column", "--dashed"),
    ],
)
def test_options_that_a_figure_does_not_use_are_refused(
    tmp_path: Path, options: str, named: str
) -> None:
    write_metrics(finished_run(tmp_path / "run", 50), [])
    done = plot(tmp_path, "--figure", *options.split())
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"does not use {named}: " in line


def test_an_option_that_does_not_exist_gets_one_line(tmp_path: Path) -> None:
    done = plot(tmp_path, "--colour", "red")
    assert done.returncode == 2
    assert done.stderr == "error: unrecognized arguments: --colour red: see resnet-plot --help\n"


@pytest.mark.parametrize("content", ["", "iteration,epoch\n1,2\n", "nonsense"])
def test_what_is_no_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    done = plot(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        find_runs(tmp_path)


def net_ending_at(error: float, depth: int = 20, iterations: int = 300) -> NetCurves:
    config = resolve(Config(depth=depth, residual=False, data=DataConfig("digits")))
    x = np.array([10.0, iterations])
    curve = Curve(x, np.array([90.0, error]), np.zeros(2))
    return NetCurves(f"plain-{depth}", config, 1, curve, curve, "test")


def test_the_papers_error_axis_is_used_where_the_curves_allow_it() -> None:
    def top(nets: list[NetCurves]) -> float:
        (axes,) = plot_curves(nets, Drawing(y_max=20)).axes
        return float(axes.get_ylim()[1])

    low = [net_ending_at(8, 20), net_ending_at(9, 32)]
    assert top(low) == 20
    assert top([*low, net_ending_at(62, 110)]) == 20
    assert top([net_ending_at(55, 20), net_ending_at(66, 56)]) > 66
    (axes,) = plot_curves([*low, net_ending_at(62, 110)], Drawing(y_max=20)).axes
    assert "plain-110\n(ends at 62 %)" in {text.get_text() for text in axes.texts}


def test_a_logarithmic_axis_shows_all_curves_and_is_labelled_in_plain_numbers(
    tmp_path: Path,
) -> None:
    nets = [net_ending_at(error, depth) for error, depth in ((60, 56), (2, 110))]
    nets[1] = replace(nets[1], config=replace(nets[1].config, residual=True))
    panels = [PanelConfig(residual=False), PanelConfig(residual=True)]
    figure = plot_curves(nets, Drawing(panels=panels, log=True))
    for axes in figure.axes:
        assert axes.get_ylim()[0] < 2
    # matplotlib's own labels of such an axis are LaTeX.
    figure.axes[0].yaxis.set_major_formatter(LogFormatterMathtext())
    (file,) = save_figure(figure, tmp_path / "log", ("svg",))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text())
    assert "10" in texts
    assert not any("$" in text for text in texts)


def test_long_runs_count_iterations_in_units_of_1e4_as_the_paper_does() -> None:
    (axes,) = plot_curves([net_ending_at(8, iterations=64_000)]).axes
    assert axes.get_xlabel() == "iterations (1e4)"
    assert axes.xaxis.get_major_formatter()(20_000) == "2"


def test_names_at_the_ends_of_curves_do_not_overlap() -> None:
    nets = [net_ending_at(5 + 0.01 * depth, depth) for depth in (20, 32, 44, 56, 110)]
    figure = plot_curves(nets)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = sorted(
        (text.get_window_extent(renderer) for text in figure.axes[0].texts), key=lambda b: b.y0
    )
    assert len(boxes) == 5
    for below, above in pairwise(boxes):
        assert below.y1 <= above.y0 + 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.2)), max_size=12))
def test_spread_out_boxes_keep_their_order_and_do_not_overlap(
    boxes: list[tuple[float, float]],
) -> None:
    places = sorted(place for place, _ in boxes)
    heights = [height for _, height in boxes]
    centres = separate_boxes(places, heights)
    ends = [(c - h / 2, c + h / 2) for c, h in zip(centres, heights, strict=True)]
    assert all(below[1] <= above[0] + 1e-9 for below, above in pairwise(ends))
    assert all(low >= -1e-9 for low, _ in ends)
    if sum(heights) <= 1.02:
        assert all(high <= 1.02 + 1e-9 for _, high in ends)


def test_boxes_that_would_overlap_are_centred_on_their_places() -> None:
    assert separate_boxes([0.5, 0.5, 0.5, 0.9], [0.1] * 4) == pytest.approx([0.4, 0.5, 0.6, 0.9])
    assert separate_boxes([0.0, 0.0], [0.1, 0.1]) == pytest.approx([0.05, 0.15])


def test_a_caption_says_if_nets_have_different_numbers_of_seeds() -> None:
    config = net_ending_at(10).config
    assert compose_caption([config] * 2, [1, 3], "mean").endswith("; 1 to 3 seeds per net (mean)")
    assert compose_caption([config] * 2, [1, 1], "mean").endswith("; 1 seed")


def test_panels_choose_nets_and_errors() -> None:
    nets = [net_ending_at(8, 20), net_ending_at(9, 110), net_ending_at(10, 1202)]
    panels = [PanelConfig("a", max_depth=110), PanelConfig("b", min_depth=110, errors="training")]
    first, second = plot_curves(nets, Drawing(panels=panels)).axes

    def lines(axes) -> list[str]:  # type: ignore[no-untyped-def]
        return [line.get_label() for line in axes.get_lines()]

    assert lines(first) == [
        *("plain-20 training", "plain-20 test", "plain-110 training", "plain-110 test")
    ]
    assert lines(second) == ["plain-110 training", "plain-1202 training"]
    with pytest.raises(UserError, match="no panel shows"):
        plot_curves(nets, Drawing(panels=[PanelConfig(residual=True)]))


def without_held_out(net: NetCurves) -> NetCurves:
    nothing = np.array([])
    return replace(net, held_out=Curve(nothing, nothing, nothing))


@pytest.mark.parametrize("log", [False, True])
def test_a_panel_of_held_out_errors_that_were_not_measured_is_empty_and_says_so(log: bool) -> None:
    nets = [without_held_out(net_ending_at(8, 20)), without_held_out(net_ending_at(9, 56))]
    panels = [PanelConfig(errors="held-out")]
    (axes,) = plot_curves(nets, Drawing(panels=panels, log=log)).axes
    assert not axes.get_lines()
    assert [text.get_text() for text in axes.texts] == ["no held-out error was measured"]
    # If only some nets have been evaluated, their errors are drawn.
    both = [nets[0], net_ending_at(9, 110)]
    (axes,) = plot_curves(both, Drawing(panels=panels, log=log)).axes
    assert [line.get_label() for line in axes.get_lines()] == ["plain-110 test"]
    assert (axes.get_title(), len(axes.texts)) == ("test error", 1)


def test_a_run_before_its_first_evaluation_is_drawn(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = finished_run(tmp_path / str(seed), 50, seed=seed)
        rows = [Row(i, i / 10, 0.1, 1.0, 50.0, None, None, 100.0, 1.0) for i in (1, 2)]
        if seed == 1:
            rows[1] = replace(rows[1], val_error=40.0)
        write_metrics(folder, rows)
    done = plot(tmp_path, "--errors", "held-out", "--output", tmp_path / "figure")
    assert (done.returncode, done.stderr) == (0, "")
    (net,) = load_curves([tmp_path / "0", tmp_path / "1"])
    assert (net.held_out_name, net.num_seeds) == ("validation", 2)
    refused = plot(tmp_path, "--output", tmp_path / "figure.jpg")
    assert refused.returncode == UserError.exit_code
    assert "figure.jpg: the formats are png, svg, pdf" in refused.stderr


# --- figures for a paper ---


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that a figure shows, without labels of ticks outside of its axes."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        if text.get_visible() and text.get_text():
            drawn.append(text)
        draw(text, renderer)

    with mock.patch.object(Text, "draw", record):
        FigureCanvasAgg(figure).draw()
    return drawn


def assert_fit_for_a_paper(figure: Figure, width: float) -> None:
    """All text is legible at this width and inside the figure, and no two texts overlap."""
    assert figure.get_figwidth() == pytest.approx(width)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = drawn_texts(figure)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for text, (_, box) in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= 6, text
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
    for (name, one), (other_name, other) in combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 1 or down <= 1, (name, other_name)


PLAIN_AND_RESIDUAL = [PanelConfig("plain nets", False), PanelConfig("residual nets", True)]


@pytest.mark.parametrize("width", [3.3, 6.8])
@pytest.mark.parametrize("suffix", ["", "-width0.125", " (iterations 2400)"])
def test_curves_fit_a_column_or_a_page(width: float, suffix: str) -> None:
    plain = [net_ending_at(error, depth) for error, depth in ((0.004, 20), (9, 32), (62, 110))]
    nets = [replace(one, name=one.name + suffix) for one in plain]
    nets += [
        replace(one, config=replace(one.config, residual=True), name=f"ResNet-{depth}{suffix}")
        for one, depth in zip(plain, (20, 32, 110), strict=True)
    ]
    drawing = Drawing(
        "a topic", PLAIN_AND_RESIDUAL, y_max=20, width=width, smooth=5, log=not suffix
    )
    figure = plot_curves(nets, drawing)
    assert_fit_for_a_paper(figure, width)
    assert max(line.get_linewidth() for axes in figure.axes for line in axes.get_lines()) < 1.5
    # The paper's caption says it.
    assert not any("seed" in text.get_text() for text in figure.texts)
    side_by_side = figure.axes[0].get_position().y0 == figure.axes[1].get_position().y0
    assert side_by_side == (width == 6.8)


def test_depths_fit_a_column(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{depth}{residual}", depth / 2, depth=depth, residual=residual)
        for depth in (20, 32, 44, 56)
        for residual in (False, True)
    ]
    assert_fit_for_a_paper(plot_depths(load_errors_by_depth(folders), Drawing(width=3.3)), 3.3)


def test_a_width_without_room_for_the_names_is_refused() -> None:
    net = replace(net_ending_at(8), name="plain-20 (with a long setting)")
    with pytest.raises(UserError, match="too narrow for names as long as 'plain-20 "):
        plot_curves([net], Drawing(width=2))


def test_the_script_draws_a_column_with_embedded_fonts_and_prints_the_caption(
    tmp_path: Path,
) -> None:
    for seed in (0, 1):
        folder = finished_run(tmp_path / f"machine{seed}" / "run", 50, seed=seed)
        write_metrics(folder, [Row(i, i, 0.1, 1.0, 50.0, 40.0, None, 100.0, 1.0) for i in (1, 2)])
    machines = [tmp_path / f"machine{seed}" for seed in (0, 1)]
    pdf = tmp_path / "figure.pdf"
    done = plot(*machines, "--width", "column", "--output", pdf)
    file, caption = done.stdout.splitlines()
    assert file == str(pdf)
    assert caption.startswith("caption: cifar10 32x32; 64,000 iterations of 128 images; ")
    assert "2 seeds" in caption  # one seed from each machine
    content = pdf.read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) ", content)
    assert float(box) == pytest.approx(3.3 * 72)
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    mistake = plot(*machines, "--width", "wide")
    assert mistake.returncode == 2
    assert "wide is not a width: use a number of inches, column or text" in mistake.stderr


def test_the_printed_caption_is_that_of_the_figure(tmp_path: Path) -> None:
    finished = [finished_run(tmp_path / str(n), n / 2, depth=n) for n in (20, 110)]
    running = finished_run(tmp_path / "running", 50, depth=20, seed=1)
    (running / "summary.json").unlink()
    for folder in (*finished, running):
        write_metrics(folder, [Row(1, 1, 0.1, 1.0, 50.0, 40.0, None, 100.0, 1.0)])
    figure = plot_depths(load_errors_by_depth(finished), Drawing())
    (drawn, *_) = (" ".join(text.get_text().split()) for text in figure.texts)
    done = plot(tmp_path, "--figure", "depths", "--width", "column", "--formats", "svg")
    assert done.stdout.splitlines()[1:] == [f"caption: {drawn}"]
    assert "; 1 seed; recipe.warmup is never for 20 and always for 110 layers" in drawn


def test_a_caption_names_the_warm_up_and_a_precision_other_than_fp32() -> None:
    def conditions_of(*settings: tuple[str, str]) -> str:
        recipes = [
            (RecipeConfig(warmup=warmup), RuntimeConfig(precision=p)) for warmup, p in settings
        ]
        return describe_conditions(
            [Config(recipe=recipe, runtime=runtime) for recipe, runtime in recipes]
        )

    plain = conditions_of(("never", "fp32"))
    assert "warm-up" not in plain
    assert "fp32" not in plain
    assert conditions_of(("always", "bf16")) == f"{plain}, after a warm-up at 0.01; bf16"
    mixed = conditions_of(("never", "fp32"), ("always", "bf16"))
    assert mixed == f"{plain}, after a warm-up at 0.01 for some nets; fp32 / bf16"


# --- layer responses (figure 7) ---


def by_hand(net: nn.Module, images: Tensor) -> list[float]:
    """The standard deviation of each 3x3 layer after batch normalization, computed literally."""
    found: list[Tensor] = []

    def layer(x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> Tensor:
        x = F.conv2d(x, conv.weight, stride=conv.stride, padding=conv.padding)
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()  # type: ignore[operator]
        x = (x - bn.running_mean[None, :, None, None]) * scale[None, :, None, None]  # type: ignore[index]
        x = x + bn.bias[None, :, None, None]
        found.append(x)
        return x

    x = F.relu(layer(images, net.conv1, net.bn1))  # type: ignore[arg-type]
    for stage in net.stages():  # type: ignore[operator]
        for block in stage:
            out = layer(F.relu(layer(x, block.conv1, block.bn1)), block.conv2, block.bn2)
            x = F.relu(out + block.shortcut(x) if block.residual else out)
    return [float(output.double().std(correction=0)) for output in found]


@pytest.mark.parametrize("residual", [False, True])
def test_layer_responses_are_what_a_hand_written_forward_gives(residual: bool) -> None:
    net = ResNet(14, residual, family="cifar", width=0.5)
    initialize(net, 0)
    images = torch.rand(30, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    net(images * 3)  # so that running statistics differ from the initial ones
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    responses = measure_responses(net, images.split(7))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [response.layer for response in responses] == list(range(1, 14))
    assert responses[1].name == "layer1.0.conv1"
    net.eval()
    with torch.no_grad():
        assert [r.std for r in responses] == pytest.approx(by_hand(net, images), rel=1e-4)


def test_a_bottleneck_has_one_3x3_layer_a_block() -> None:
    net = ResNet(50, True, family="imagenet", shortcut="B", width=0.0625)
    responses = measure_responses(net, [torch.rand(2, 3, 32, 32)])
    assert len(responses) == 16  # the first layer is 7x7
    assert all(response.name.endswith("conv2") for response in responses)


def test_responses_are_recorded_and_drawn_over_seeds(tmp_path: Path) -> None:
    study = study_of(tmp_path, "seeds=[0,1]", "study.figures=[responses]")
    run_study(study, quiet())
    nets = load_responses([run_folder(run) for run in study.runs])
    assert [[len(rows) for rows in net.seeds] for net in nets] == [[7, 7], [13, 13]] * 2
    with (run_folder(study.runs[0]) / "responses.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 7
    assert (study.folder / "responses.png").read_bytes().startswith(b"\x89PNG")
    folders = [run_folder(run) for run in study.runs]
    drawing = Drawing("a topic")
    figure = FIGURES["responses"](folders, drawing)(drawing, False)
    texts = {" ".join(text.get_text().split()) for text in figure.texts}
    assert {responses_title(nets), "a topic"} <= texts
    assert "standard deviation of layer responses" in (study.folder / "report.md").read_text()


def test_missing_or_damaged_responses_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"responses\.csv is missing: a run writes it"):
        read_responses(tmp_path)
    (tmp_path / "responses.csv").write_text("layer,name,std\n1,conv1,much\n")
    with pytest.raises(UserError, match=r"responses\.csv is damaged"):
        read_responses(tmp_path)
