"""The figures of a study, by the names that `study.figures` takes."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from resnet_degradation.figures.curves import load_curves, plot_curves
from resnet_degradation.figures.depths import load_depths, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import load_grid, plot_grid
from resnet_degradation.figures.inspection import load_responses, plot_responses, responses_title


def _draw_responses(folders: list[Path], drawing: Drawing, dark: bool) -> Figure:
    nets = load_responses(folders)
    return plot_responses(nets, responses_title(nets), dark, drawing.title, drawing.width)


# Draws the runs in these folders with these titles and axes, for a light or a dark page.
Maker = Callable[[list[Path], Drawing, bool], Figure]
FIGURES: dict[str, Maker] = {
    "curves": lambda folders, drawing, dark: plot_curves(
        load_curves(folders, drawing.x, drawing.smooth), drawing, dark
    ),
    "responses": _draw_responses,
    "depths": lambda folders, drawing, dark: plot_depths(
        load_depths(folders), drawing.title, dark, drawing.width
    ),
    "grid": lambda folders, drawing, dark: plot_grid(
        *load_grid(folders), drawing.title, drawing.log, dark, drawing.width
    ),
}
