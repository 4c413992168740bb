"""The figures of a study, by the names that `study.figures` takes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from resnet_degradation.figures.curves import load_curves, plot_curves
from resnet_degradation.figures.depths import load_depths, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.grid import load_grid, plot_grid
from resnet_degradation.figures.inspection import load_responses, plot_responses, responses_title

# Draws the runs in these folders with these titles and axes, for a light or a dark page. The label
# of the built-in figures is their caption, whether or not they show it.
Maker = Callable[[list[Path], Drawing, bool], Figure]
# The same for runs that are loaded already. Only titles and sizes may differ from those of the
# drawing for which they were loaded.
Draw = Callable[[Drawing, bool], Figure]


def _curves(folders: list[Path], first: Drawing) -> Draw:
    return partial(plot_curves, load_curves(folders, first.x, first.smooth))


def _responses(folders: list[Path], _first: Drawing) -> Draw:
    nets = load_responses(folders)
    return partial(plot_responses, nets, responses_title(nets))


def _depths(folders: list[Path], _first: Drawing) -> Draw:
    return partial(plot_depths, load_depths(folders))


def _grid(folders: list[Path], _first: Drawing) -> Draw:
    return partial(plot_grid, *load_grid(folders))


# The settings of `drawing.adjusted` that a figure uses; the figure "curves" uses all of them.
USED = {
    "responses": {"title", "width"},
    "depths": {"title", "width"},
    "grid": {"title", "width", "log"},
}

# Each loads the runs in these folders for a drawing, and returns what draws them.
FIGURES: dict[str, Callable[[list[Path], Drawing], Draw]] = {
    "curves": _curves,
    "responses": _responses,
    "depths": _depths,
    "grid": _grid,
}
