"""The figures of a study, by the names that `study.figures` takes."""

from collections.abc import Callable
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
    nets = load_curves(folders, first.x, first.smooth)
    return lambda drawing, dark: plot_curves(nets, drawing, dark)


def _responses(folders: list[Path], _first: Drawing) -> Draw:
    nets = load_responses(folders)
    finding = responses_title(nets)
    return lambda drawing, dark: plot_responses(
        nets, finding, dark, drawing.title, drawing.width, drawing.narrow
    )


def _depths(folders: list[Path], _first: Drawing) -> Draw:
    series = load_depths(folders)
    return lambda drawing, dark: plot_depths(
        series, drawing.title, dark, drawing.width, drawing.narrow
    )


def _grid(folders: list[Path], _first: Drawing) -> Draw:
    key, nets = load_grid(folders)
    return lambda drawing, dark: plot_grid(
        key, nets, drawing.title, drawing.log, dark, drawing.width, drawing.narrow
    )


# The settings of `drawing.adjusted` that a figure uses; the figure "curves" uses all of them.
USED = {
    "responses": {"title", "width"},
    "depths": {"title", "width"},
    "grid": {"title", "width", "log"},
}

LOADERS: dict[str, Callable[[list[Path], Drawing], Draw]] = {
    "curves": _curves,
    "responses": _responses,
    "depths": _depths,
    "grid": _grid,
}


def _maker(name: str) -> Maker:
    return lambda folders, drawing, dark: LOADERS[name](folders, drawing)(drawing, dark)


FIGURES: dict[str, Maker] = {name: _maker(name) for name in LOADERS}
