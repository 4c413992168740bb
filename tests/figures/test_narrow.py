"""Figures for a phone show the same data as others, in legible text."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.studies import composed_study

from resnet_degradation.config.identity import net_name
from resnet_degradation.figures.curves import NetCurves, plot_curves
from resnet_degradation.figures.depths import plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import plot_grid
from resnet_degradation.figures.inspection import plot_responses, responses_title
from resnet_degradation.figures.seeds import Curve, NetRows, Series
from resnet_degradation.figures.style import contrast_ratio
from resnet_degradation.records.layers import Response
from resnet_degradation.system.errors import UserError

figure_6 = cache(lambda: composed_study("study=fig6-1202"))
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def drawn(
    kind: str, *, dark: bool = False, narrow: bool = False, width: float | None = None
) -> Figure:
    """A figure of nets of figure 6, with invented errors."""
    study = figure_6()
    configs = study.runs if kind == "curves" else study.runs[::2]
    ends = np.linspace(3, 60, len(configs))
    if kind == "curves":
        x = np.array([0.0, 32_000, 64_000])
        curves = [Curve(x, np.array([90, 2 * end, end]), np.ones(3)) for end in ends]
        nets = [
            NetCurves(net_name(config), config, 3, curve, curve, "test")
            for config, curve in zip(configs, curves, strict=True)
        ]
        return plot_curves(nets, replace(study.drawing, title="", narrow=narrow, width=width), dark)
    drawing = Drawing(narrow=narrow, width=width)
    if kind == "depths":
        groups = [[c for c in configs if c.residual == residual] for residual in (False, True)]
        series = [
            Series(f"{name} nets (recipe.warmup always)", group, [np.array([9, 9.5])] * len(group))
            for name, group in zip(("plain", "residual"), groups, strict=True)
        ]
        return plot_depths(series, drawing, dark)
    if kind == "grid":
        rates = [replace(configs[0].recipe, lr=rate) for rate in RATES]
        grid = [
            Series(
                f"{net_name(c)} (recipe.weight_decay 0.0001 in every one of its runs)",
                [replace(c, recipe=recipe) for recipe in rates],
                [np.array([end, end + 1])] * len(RATES),
            )
            for c, end in zip(configs[::2], ends[::2], strict=True)
        ]
        return plot_grid("recipe.lr", grid, drawing, dark)
    rows = [Response(layer, "", 1 / layer) for layer in range(1, 56)]
    nets = [NetRows(net_name(config), config, [rows, rows]) for config in configs]
    return plot_responses(nets, responses_title(nets), drawing, dark)


def visible_texts(figure: Figure) -> list[Text]:
    """The texts that are drawn, without labels of ticks beyond the ends of an axis."""
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
        if not min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    }
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    return [text for text in texts if text.get_visible() and text not in beyond]


@pytest.mark.parametrize("kind", ["curves", "depths", "grid", "responses"])
def test_text_fits_does_not_overlap_and_can_be_read(kind: str) -> None:
    dark = kind in ("curves", "grid")
    figure = drawn(kind, dark=dark, narrow=True)
    FigureCanvasAgg(figure).draw()
    page, paper = figure.bbox, to_hex(figure.get_facecolor())
    boxes = []
    for text in visible_texts(figure):
        # The size in pixels if the figure fills a page of 390 pixels with margins of 20.
        assert text.get_fontsize() / 72 / figure.get_figwidth() * 350 >= 12, text
        assert contrast_ratio(to_hex(text.get_color()), paper) >= 4.5, text
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.x1 <= page.x1, text
        assert box.y0 >= 0, text
        assert box.y1 <= page.y1, text
        boxes.append((text.get_text(), box))
    assert len(boxes) > 10
    for (one, a), (other, b) in combinations(boxes, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) < 1, (one, other)
    wide = drawn(kind, dark=dark, narrow=False)
    names = {line.get_label() for axes in wide.axes for line in axes.get_lines()}
    assert names == {line.get_label() for axes in figure.axes for line in axes.get_lines()}


@pytest.mark.parametrize("kind", ["curves", "depths", "grid", "responses"])
def test_a_paper_too_narrow_for_a_figure_is_refused(kind: str) -> None:
    for width in (1.0, 2.0):
        with pytest.raises(UserError, match=f"{width:g} inches wide is too narrow for names"):
            drawn(kind, width=width)
