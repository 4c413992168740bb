"""The built-in figures, keyed by their names in `study.figures`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from resnet_degradation.figures.curves import load_curves, plot_curves
from resnet_degradation.figures.depths import load_errors_by_depth, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import load_errors_by_setting, plot_grid
from resnet_degradation.figures.inspection import load_responses, plot_responses, responses_title

# Loads and draws the runs in these folders; True selects a dark background. The label of a built-in
# figure is its caption, even if the figure does not show it.
DrawFolders = Callable[[list[Path], Drawing, bool], Figure]
# Draws runs that are already loaded. Only the drawing's titles and sizes may differ from those for
# which the runs were loaded.
Draw = Callable[[Drawing, bool], Figure]


def _curves(folders: list[Path], drawing: Drawing) -> Draw:
    return partial(plot_curves, load_curves(folders, drawing.x, drawing.smooth))


def _responses(folders: list[Path], _drawing: Drawing) -> Draw:
    nets = load_responses(folders)
    return partial(plot_responses, nets, responses_title(nets))


def _depths(folders: list[Path], _drawing: Drawing) -> Draw:
    return partial(plot_depths, load_errors_by_depth(folders))


def _grid(folders: list[Path], _drawing: Drawing) -> Draw:
    return partial(plot_grid, *load_errors_by_setting(folders))


# The settings of `adjust_drawing` that each figure uses; "curves" uses all of them.
USED_SETTINGS = {
    "responses": {"title", "width"},
    "depths": {"title", "width"},
    "grid": {"title", "width", "log"},
}

# Each function loads the runs in these folders and returns a function that draws them.
FIGURES: dict[str, Callable[[list[Path], Drawing], Draw]] = {
    "curves": _curves,
    "responses": _responses,
    "depths": _depths,
    "grid": _grid,
}
