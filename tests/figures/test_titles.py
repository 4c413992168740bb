"""Titles give the measured numbers, and say if differences do not exceed the noise."""

import runpy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.figures.curves import NetCurves, extension_title
from resnet_degradation.figures.depths import depths_title, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import grid_title
from resnet_degradation.figures.labels import wrap_text
from resnet_degradation.figures.seeds import Curve, Series
from resnet_degradation.figures.titles import NetMeasurement, compose_title, differ_clearly
from resnet_degradation.inspection.registry import PROBES

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "draw_why.py"


def config(depth: int, residual: bool, **settings: Any) -> Config:
    return resolve(Config(depth=depth, residual=residual, data=DataConfig("digits"), **settings))


def net(depth: int, residual: bool, *seeds: float) -> NetMeasurement:
    name = f"{'ResNet' if residual else 'plain'}-{depth}"
    return NetMeasurement(name, config(depth, residual), sum(seeds) / len(seeds), seeds)


@pytest.mark.parametrize(
    ("nets", "title"),
    [
        ([net(20, False, 7, 7.5), net(20, True, 1, 1.5)], "A: ResNet-20 1.2 m, plain-20 7.2"),
        (
            [net(20, False, 7, 1), net(20, True, 1, 4)],
            "A: ResNet-20 2.5 m, plain-20 4.0 (unclear: within the noise of 2 seeds)",
        ),
        ([net(20, False, 7), net(20, True, 1)], "A: ResNet-20 1.0 m, plain-20 7.0 (one seed)"),
        ([net(20, True, 2, 3)], "A: ResNet-20 2.5 m"),
        ([net(20, True, float("nan"))], "A: no value"),
        (  # two residual nets: the shallow one and the deep one
            [net(20, True, 2, 2), net(56, True, 1, 3), net(32, True, 3, 3)],
            "A: ResNet-20 2.0 m, ResNet-56 2.0, ResNet-32 3.0 "
            "(ResNet-20 and ResNet-56 unclear: within the noise of 2 seeds)",
        ),
        (  # the deepest nets that plain and residual ones have in common
            [net(d, r, d / 2 + r, d / 2 - r) for d in (20, 56) for r in (False, True)]
            + [net(110, True, 1, 1)],
            "A: plain-56 28.0 m, ResNet-56 28.0 "
            "(plain-56 and ResNet-56 unclear: within the noise of 2 seeds)",
        ),
    ],
)
def test_a_title_orders_the_numbers_and_says_what_is_unclear(
    nets: list[NetMeasurement], title: str
) -> None:
    assert compose_title("A", nets, "{:.1f}".format, " m") == title


def test_factors_are_compared_by_their_logarithms() -> None:
    nets = [net(56, False, 100.0, 1000.0, 4000.0), net(56, True, 3.0, 3.5, 4.0)]
    assert "unclear" in compose_title("A", nets, "{:.0f}".format)
    assert "unclear" not in compose_title("A", nets, "{:.0f}".format, factors=True)


@pytest.mark.parametrize(
    ("first", "second", "clear"),
    [
        ([1.0, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [2.0, 2.0], True),
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], False),
        ([1.0, 2.0, 3.0], [11.0, 12.0, 13.0], True),
        ([1.0], [9.0, 9.0], False),
        ([1.0, float("-inf")], [9.0, 9.0], False),
    ],
)
def test_a_difference_is_clear_if_it_exceeds_the_noise(
    first: Sequence[float], second: Sequence[float], clear: bool
) -> None:
    assert differ_clearly(first, second) is clear


def series(residual: bool, *errors: list[float]) -> Series:
    configs = [config(depth, residual) for depth in (20, 56)]
    name = "residual nets" if residual else "plain nets"
    return Series(name, configs, [np.array(of_seeds) for of_seeds in errors])


def test_the_figure_over_depth_says_what_depth_does() -> None:
    both = [series(False, [7, 8], [69, 70]), series(True, [1, 3], [2, 4])]
    title = (
        "Training error from 20 to 56 layers: plain nets 7.5 → 69.5 %, "
        "residual nets 2.0 → 3.0 % (unclear: within the noise of 2 seeds)"
    )
    assert depths_title(both) == title
    texts = [
        " ".join(text.get_text().split()) for text in plot_depths(both, Drawing("a topic")).texts
    ]
    assert {title, "a topic"} <= {*texts}
    assert depths_title([series(False, [7], [69])]).endswith("7.0 → 69.0 % (one seed)")
    deeper = replace(both[1], configs=[config(20, True), config(110, True)])
    assert depths_title([both[0], deeper]) == (
        "Training error from 20 to 56 layers: plain nets 7.5 → 69.5 %; from 20 to 110 layers: "
        "residual nets 2.0 → 3.0 % (unclear: within the noise of 2 seeds)"
    )
    alone = replace(both[0], configs=both[0].configs[:1], errors=both[0].errors[:1])
    assert depths_title([alone]) == ""


def test_the_figure_over_a_setting_says_what_each_net_reaches() -> None:
    configs = [config(20, False), config(20, False)]
    nets = [Series("plain-20", configs, [np.array([9.0, 9.5]), np.array([5.0, 6.0])])]
    best = "Training error of each net at its best learning rate: plain-20 5.5 %"
    assert grid_title("recipe.lr", nets) == best
    longer = [
        replace(c, recipe=replace(c.recipe, iterations=n))
        for c, n in zip(configs, (300, 2400), strict=True)
    ]
    ends = "Training error from 300 to 2,400 iterations: plain-20 9.2 → 5.5 %"
    assert grid_title("recipe.iterations", [replace(nets[0], configs=longer)]) == ends


def test_the_curves_of_an_extended_net_say_where_it_ends() -> None:
    curve = Curve(np.array([300.0]), np.array([5.0]), np.zeros(1))

    def ending(name: str, depth: int, ends: list[float], extends: int | None = None) -> NetCurves:
        own = config(depth, False, extends=extends)
        return NetCurves(name, own, len(ends), curve, curve, "validation", ends)

    nets = [ending("plain-20", 20, [7, 8]), ending("plain-56", 56, [66, 67])]
    assert extension_title(nets) == ""
    nets.append(ending("plain-56-from-20", 56, [3, 4], extends=20))
    assert extension_title(nets) == (
        "plain-56 that begins as plain-20 plus identities ends at 3.5 % validation error, "
        "from scratch at 66.5 %"
    )


def test_no_line_begins_with_a_number() -> None:
    lines = wrap_text(
        "Error: " + ", ".join(f"ResNet-{depth} +{depth}.5 %" for depth in range(9)), 2
    )
    assert len(lines) > 3
    assert all(line.startswith(("Error", "ResNet")) and not line.endswith("+") for line in lines)


@pytest.mark.parametrize("suffix", ["", " (learning rate 0.01)"])
@pytest.mark.parametrize("name", ["lesions", "signals", "sharpness"])
def test_all_text_lies_in_the_figure_whatever_the_names_are(name: str, suffix: str) -> None:
    nets = runpy.run_path(str(SCRIPT))["read_inspected_nets"](name)
    nets = [replace(one, name=one.name + suffix) for one in nets]
    figure = PROBES[name].make_figure(nets, PROBES[name].make_finding(nets, name).title)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in texts}
    for text in (*(one.name for one in nets), figure.get_suptitle()):
        box = boxes[text]
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
    for axes in figure.axes:
        assert axes.get_window_extent().width / figure.dpi > 1.3


def test_the_documented_findings_are_those_of_the_committed_tables() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
    titles = [
        probe.make_finding(script["read_inspected_nets"](name), name).title
        for name, probe in PROBES.items()
    ]
    titles += [
        depths_title(script["read_depth_series"]()),
        extension_title(script["load_constructed_curves"]()),
    ]
    assert [title for title in titles if f"![{title}]" not in page] == []
