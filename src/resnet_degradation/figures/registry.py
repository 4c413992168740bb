"""Figures, drawn from the files of run folders alone.

from resnet_degradation.figures import load_curves, plot_curves, save_figure

save_figure(plot_curves(load_curves([folder, ...])), Path("curves"))
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_degradation.figures.curve_data import load_curves
from resnet_degradation.figures.curves import plot_curves
from resnet_degradation.figures.depths import load_depths, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.responses import load_responses, plot_responses

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# From the folders of finished runs, titles and axes, and whether the page is dark, to a figure.
Maker = Callable[[list[Path], Drawing, bool], "Figure"]
FIGURES: dict[str, Maker] = {
    "curves": lambda folders, drawing, dark: plot_curves(load_curves(folders), drawing, dark),
    "responses": lambda folders, drawing, dark: plot_responses(
        load_responses(folders), drawing.title, dark
    ),
    "depths": lambda folders, drawing, dark: plot_depths(load_depths(folders), drawing.title, dark),
}
