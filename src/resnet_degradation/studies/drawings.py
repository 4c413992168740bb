"""The figures of a study: as files, and in report.html, where a pointer or finger shows values."""

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

Part = TypeVar("Part")

ALT_TEXTS = {
    "curves": "Training and held-out error of every net against iterations",
    "depths": "Final training error of plain and residual nets against depth",
    "grid": "Final training error of every net against the setting that varies",
    "responses": "Standard deviation of the responses of every net's 3x3 layers",
}

# Pixels per inch of a wide figure (text of 8 points is then 12 pixels high), and at most of a
# narrow one.
WIDE, NARROW = 110, 160
# In pixels: the largest width of the page's content (also in report.html.jinja), and the width of
# its margins and a scroll bar together.
PAGE, MARGINS = 1176, 56

# The alternative text of a figure gives all values of a panel whose lines have at most this many
# points.
FEW_POINTS = 8


def draw_figures(study: Study) -> list[dict[str, Any]]:
    """Save the figures of a study in its folder; return the data of each for the report.

    Each has a name, alternative text, and layouts: a wide one, unless it is wider than the page
    can be, and a narrow one, unless a custom function draws the figure. The page shows the first
    layout that fits. A layout has a media query (for which pages it is), a size in pixels, data
    URLs for light and dark pages, and the values of its lines.

    Raises ConfigError if a custom function returns no figure.
    """
    figures = []
    untitled = replace(study.drawing, title="")
    for setting in study.figures:
        name = attribute_name(setting)
        draw = _drawer(setting, study)
        save_figure(draw(study.drawing, False), study.folder / name)
        wide = _layout(draw, untitled)
        layouts = [wide]
        if not is_custom(setting):
            narrow = _layout(draw, replace(untitled, narrow=True))
            if wide["width"] > PAGE:
                layouts = [narrow]
            else:
                narrow["media"] = f"(max-width: {wide['width'] + MARGINS - 1}px)"
                layouts = [narrow, wide]
        alt = f"{ALT_TEXTS.get(name, name)}. {wide.pop('text')}"
        figures.append({"name": name, "alt": alt, "layouts": layouts})
    return figures


def _drawer(name: str, study: Study) -> Draw:
    """The function that draws a figure of the study. Built-in ones load the runs only once."""
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


def _layout(draw: Draw, drawing: Drawing) -> dict[str, Any]:
    light, dark = draw(drawing, False), draw(drawing, True)
    width, height = light.get_size_inches() * (NARROW if drawing.narrow else WIDE)
    urls = {"light": _data_url(light, dark=False), "dark": _data_url(dark, dark=True)}
    # Saving has fixed the positions of everything.
    panels = [_panel(axes, twin, light) for axes, twin in _paired(light.axes, dark.axes)]
    size = {"media": "all", "width": round(width), "height": round(height)}
    return urls | size | {"panels": panels, "text": _text(light, panels)}


def _paired(light: Sequence[Part], dark: Sequence[Part]) -> list[tuple[Part, Part]]:
    """The parts of a light figure, each with the same part of its dark twin.

    A custom function may draw another number of parts on dark pages. Then the parts of the light
    figure are paired with themselves.
    """
    return [*zip(light, dark if len(dark) == len(light) else light, strict=True)]


def _data_url(figure: "Figure", dark: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = save_figure(figure, Path(folder) / "figure", formats=("svg",), dark=dark)
        return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _panel(axes: "Axes", twin: "Axes", figure: "Figure") -> dict[str, Any]:
    """A panel of a drawn figure, and the named lines of data in it: values and positions.

    Positions are fractions of the figure from its upper left corner; the box is
    [left, top, right, bottom]. twin: the same panel of the figure for dark pages.
    """
    from matplotlib.colors import to_hex

    box, lines = axes.get_position(), []
    to_figure = axes.transData - figure.transFigure
    for line, dark in _paired(axes.get_lines(), twin.get_lines()):
        if str(line.get_label()).startswith("_") or line.get_transform() != axes.transData:
            continue
        values = np.asarray(line.get_xydata(), dtype=float)
        positions = to_figure.transform(values)
        drawn = np.isfinite(values).all(axis=1) & np.isfinite(positions).all(axis=1)
        lines.append(
            {
                "name": line.get_label(),
                "colours": [to_hex(line.get_color()), to_hex(dark.get_color())],
                "x": [float(f"{x:.9g}") for x in values[drawn, 0]],
                "y": [float(f"{y:.5g}") for y in values[drawn, 1]],
                "across": positions[drawn, 0].round(4).tolist(),
                "down": (1 - positions[drawn, 1]).round(4).tolist(),
            }
        )
    return {
        "box": [round(place, 4) for place in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
        "title": axes.get_title(),
        "horizontal": axes.get_xlabel().removesuffix(" (1e4)"),
        "lines": lines,
    }


def _text(figure: "Figure", panels: list[dict[str, Any]]) -> str:
    """The title of a figure, and the values of its lines.

    If a panel has a line with more than FEW_POINTS points, only the last value of each of its
    lines is given. The text is empty if the figure has neither title nor lines.
    """
    parts = [" ".join(figure.get_suptitle().split())]
    for axes, panel in zip(figure.axes, panels, strict=True):
        lines = [line for line in panel["lines"] if line["x"]]
        if not lines:
            continue
        few = all(len(line["x"]) <= FEW_POINTS for line in lines)
        end = "" if few else f", at the end ({panel['horizontal']} {lines[0]['x'][-1]:,g})"
        about = panel["title"] or " ".join(axes.get_ylabel().split())
        numbers = [
            f"{line['name']} "
            + (", ".join(f"{y:.3g} at {x:,g}" for x, y in zip(line["x"], line["y"], strict=True))
               if few else f"{line['y'][-1]:.3g}")
            for line in lines
        ]  # fmt: skip
        parts.append(f"{about}{end}: {'; '.join(numbers)}")
    return ". ".join(filter(None, parts))
