"""Figures, drawn from the files of run folders alone.

from resnet_degradation.figures import load_curves, plot_curves, save_figure

save_figure(plot_curves(load_curves([folder, ...])), Path("curves"))
"""

from resnet_degradation.figures.curves import load_curves, plot_curves
from resnet_degradation.figures.depths import load_depths, plot_depths
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.responses import load_responses, plot_responses
from resnet_degradation.figures.style import save_figure

__all__ = [
    "Drawing",
    "load_curves",
    "load_depths",
    "load_responses",
    "plot_curves",
    "plot_depths",
    "plot_responses",
    "save_figure",
]
