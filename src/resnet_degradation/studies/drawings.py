"""Draws the figures of a study, as files and as interactive figures of report.html."""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from resnet_degradation.config.custom_code import attribute_name, is_custom, load_custom
from resnet_degradation.config.identity import run_folder
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.registry import FIGURES, Draw, DrawFolders
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.studies.definition import Study
from resnet_degradation.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AxesOrLine = TypeVar("AxesOrLine")

ALT_TEXTS = {
    "curves": "Training and held-out error of every net against iterations",
    "depths": "Final training error of plain and residual nets against depth",
    "grid": "Final training error of every net against the setting that varies",
    "responses": "Standard deviation of the responses of every net's 3x3 layers",
}

# Pixels per inch of a wide figure (text of 8 points is 12 pixels high) and of a narrow figure.
WIDE_DPI, NARROW_DPI = 110, 160
# Sizes in pixels: the largest width of the page's content, which report.html.jinja also sets, and
# the width of the margins and a scroll bar.
PAGE_WIDTH, MARGINS_WIDTH = 1176, 56

# The alternative text lists all values of a panel if its lines have at most this many points.
MAX_LISTED_POINTS = 8


def draw_figures(study: Study) -> list[dict[str, Any]]:
    """Save the figures of a study in its folder; return the data of each figure for the report.

    The data are a name, an alternative text and layouts: a narrow one, unless a custom function
    draws the figure, and a wide one, unless it is wider than the page. The page shows the first
    layout that fits. A layout has a media query, a size in pixels, data URLs for light and dark
    pages, and the values of its lines.

    Raises ConfigError if a custom function does not return a figure.
    """
    figures = []
    untitled = replace(study.drawing, title="")
    for setting in study.figures:
        name = attribute_name(setting)
        draw = _load_draw_function(setting, study)
        save_figure(draw(study.drawing, False), study.folder / name)
        wide = _make_layout(draw, untitled)
        layouts = [wide]
        if not is_custom(setting):
            narrow = _make_layout(draw, replace(untitled, narrow=True))
            if wide["width"] > PAGE_WIDTH:
                layouts = [narrow]
            else:
                narrow["media"] = f"(max-width: {wide['width'] + MARGINS_WIDTH - 1}px)"
                layouts = [narrow, wide]
        alt = f"{ALT_TEXTS.get(name, name)}. {wide.pop('text')}"
        figures.append({"name": name, "alt": alt, "layouts": layouts})
    return figures


def _load_draw_function(name: str, study: Study) -> Draw:
    """Load the function that draws a figure; a built-in figure also loads the runs, once."""
    import matplotlib as mpl

    folders = [run_folder(run) for run in study.runs]
    if not is_custom(name):
        return FIGURES[name](folders, study.drawing)
    make: DrawFolders = load_custom(name, "study.figures")

    def draw(drawing: Drawing, dark: bool) -> "Figure":
        with mpl.rc_context(rc(dark)):
            figure = make(folders, drawing, dark)
        if not hasattr(figure, "savefig"):
            raise ConfigError(
                f"study.figures: {name} returned a {type(figure).__name__}, not a matplotlib Figure"
            )
        return figure

    return draw


def _make_layout(draw: Draw, drawing: Drawing) -> dict[str, Any]:
    light, dark = draw(drawing, False), draw(drawing, True)
    width, height = light.get_size_inches() * (NARROW_DPI if drawing.narrow else WIDE_DPI)
    urls = {"light": _data_url(light, dark=False), "dark": _data_url(dark, dark=True)}
    # Only now, because saving a figure determines the final positions.
    panels = [
        _describe_panel(axes, dark_axes, light)
        for axes, dark_axes in _pair_with_dark(light.axes, dark.axes)
    ]
    size = {"media": "all", "width": round(width), "height": round(height)}
    return urls | size | {"panels": panels, "text": _alt_text(light, panels)}


def _pair_with_dark(
    light: Sequence[AxesOrLine], dark: Sequence[AxesOrLine]
) -> list[tuple[AxesOrLine, AxesOrLine]]:
    """Pair the axes or lines of a figure for light pages with those of the one for dark pages.

    If their numbers differ, which a custom function can cause, each is paired with itself.
    """
    return [*zip(light, dark if len(dark) == len(light) else light, strict=True)]


def _data_url(figure: "Figure", dark: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = save_figure(figure, Path(folder) / "figure", formats=("svg",), dark=dark)
        return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _describe_panel(axes: "Axes", dark_axes: "Axes", figure: "Figure") -> dict[str, Any]:
    """Describe a panel of a drawn figure, and its named lines, with their values and positions.

    Positions are fractions of the figure, from its upper left corner. The box is
    [left, top, right, bottom].

    dark_axes: the same panel of the figure for dark pages.
    """
    from matplotlib.colors import to_hex

    box, lines = axes.get_position(), []
    to_figure = axes.transData - figure.transFigure
    for line, dark_line in _pair_with_dark(axes.get_lines(), dark_axes.get_lines()):
        if str(line.get_label()).startswith("_") or line.get_transform() != axes.transData:
            continue
        values = np.asarray(line.get_xydata(), dtype=float)
        positions = to_figure.transform(values)
        is_drawn = np.isfinite(values).all(axis=1) & np.isfinite(positions).all(axis=1)
        lines.append(
            {
                "name": line.get_label(),
                "colours": [to_hex(line.get_color()), to_hex(dark_line.get_color())],
                "x": [float(f"{x:.9g}") for x in values[is_drawn, 0]],
                "y": [float(f"{y:.5g}") for y in values[is_drawn, 1]],
                "across": positions[is_drawn, 0].round(4).tolist(),
                "down": (1 - positions[is_drawn, 1]).round(4).tolist(),
            }
        )
    return {
        "box": [round(edge, 4) for edge in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
        "title": axes.get_title(),
        "horizontal": axes.get_xlabel().removesuffix(" (1e4)"),
        "lines": lines,
    }


def _alt_text(figure: "Figure", panels: list[dict[str, Any]]) -> str:
    """The alternative text of a figure: its title and the values of its lines.

    For a panel with a line of more than MAX_LISTED_POINTS points, it has only the last values.
    It is empty if the figure has neither a title nor lines.
    """
    parts = [" ".join(figure.get_suptitle().split())]
    for axes, panel in zip(figure.axes, panels, strict=True):
        lines = [line for line in panel["lines"] if line["x"]]
        if not lines:
            continue
        lists_all = all(len(line["x"]) <= MAX_LISTED_POINTS for line in lines)
        end = "" if lists_all else f", at the end ({panel['horizontal']} {lines[0]['x'][-1]:,g})"
        heading = panel["title"] or " ".join(axes.get_ylabel().split())
        numbers = [
            f"{line['name']} "
            + (", ".join(f"{y:.3g} at {x:,g}" for x, y in zip(line["x"], line["y"], strict=True))
               if lists_all else f"{line['y'][-1]:.3g}")
            for line in lines
        ]  # fmt: skip
        parts.append(f"{heading}{end}: {'; '.join(numbers)}")
    return ". ".join(filter(None, parts))
