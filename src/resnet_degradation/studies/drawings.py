"""The figures of a study: as files, and inside report.html with values under the pointer."""

import base64
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_degradation.config.custom_code import attribute_of, is_custom, load_custom
from resnet_degradation.config.identity import run_folder
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.registry import FIGURES, Maker
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.studies.definition import Study
from resnet_degradation.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALT_TEXTS = {
    "curves": "Training and held-out error of every net against iterations",
    "depths": "Final training error of plain and residual nets against depth",
    "grid": "Final training error of every net against the setting that varies",
    "responses": "Standard deviation of the responses of every net's 3x3 layers",
}


def draw_figures(study: Study) -> list[dict[str, Any]]:
    """Save the figures of a study in its folder; return what the report needs of each.

    Each has a name and alternative text, data URLs for light and dark pages, a size, and the
    values of its lines. Raises ConfigError if a custom function returns no figure.
    """
    figures = []
    untitled = replace(study.drawing, title="")
    for setting in study.figures:
        name = attribute_of(setting)
        save_figure(_draw(setting, study, study.drawing), study.folder / name)
        light = _draw(setting, study, untitled)
        width, height = light.get_size_inches()
        figures.append(
            {
                "name": name,
                "alt": ALT_TEXTS.get(name, name),
                "light": _data_url(light, dark=False),  # saving also fixes where everything lies
                "panels": [_panel(axes, light) for axes in light.axes],
                "dark": _data_url(_draw(setting, study, untitled, dark=True), dark=True),
                "aspect": f"{width:.3f} / {height:.3f}",
                "width": round(width * 110),
            }
        )
    return figures


def _draw(name: str, study: Study, drawing: Drawing, dark: bool = False) -> "Figure":
    import matplotlib as mpl

    make: Maker = load_custom(name, "study.figures") if is_custom(name) else FIGURES[name]
    with mpl.rc_context(rc(dark)):  # for custom functions too
        figure = make([run_folder(run) for run in study.runs], drawing, dark)
    if not hasattr(figure, "savefig"):
        raise ConfigError(
            f"study.figures: {name} returned a {type(figure).__name__}, not a matplotlib Figure"
        )
    return figure


def _data_url(figure: "Figure", dark: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = save_figure(figure, Path(folder) / "figure", formats=("svg",), dark=dark)
        return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _panel(axes: "Axes", figure: "Figure") -> dict[str, Any]:
    """A panel of a drawn figure, and the named lines of data in it: values and positions.

    Positions are fractions of the figure from its upper left corner; the box is
    [left, top, right, bottom].
    """
    from matplotlib.colors import to_hex

    box, lines = axes.get_position(), []
    to_figure = axes.transData - figure.transFigure
    for line in axes.get_lines():
        if str(line.get_label()).startswith("_") or line.get_transform() != axes.transData:
            continue
        values = np.asarray(line.get_xydata(), dtype=float)
        positions = to_figure.transform(values)
        drawn = np.isfinite(values).all(axis=1) & np.isfinite(positions).all(axis=1)
        lines.append(
            {
                "name": line.get_label(),
                "colour": to_hex(line.get_color()),
                "x": [float(f"{x:.9g}") for x in values[drawn, 0]],
                "y": [float(f"{y:.5g}") for y in values[drawn, 1]],
                "across": positions[drawn, 0].round(6).tolist(),
                "down": (1 - positions[drawn, 1]).round(6).tolist(),
            }
        )
    return {
        "box": [box.x0, 1 - box.y1, box.x1, 1 - box.y0],
        "horizontal": axes.get_xlabel().removesuffix(" (1e4)"),
        "lines": lines,
    }
