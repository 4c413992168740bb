"""The loss surface around trained nets (Li et al. 2018)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import NetRows, Values
from resnet_degradation.figures.style import name_size

MAX_LOSS = 1e3  # larger losses have the same colour as this one
ERROR_MARGIN = 10.0  # percentage points of training error


def plot_surface(nets: list[NetRows], title: str = "") -> Figure:
    """Plot contours of the training loss around the first seed of each net, one panel per net.

    All panels share a colour scale. The trained net is in the centre. A line encloses the points
    whose error is at most ERROR_MARGIN higher.
    """
    grids = [arrange_on_grid(net.seeds[0], "loss") for net in nets]
    losses = np.concatenate([loss.ravel() for _, loss in grids])
    losses = losses[np.isfinite(losses)]
    low = float(np.clip(losses.min(initial=MAX_LOSS), 1e-4, MAX_LOSS / 10))
    high = max(min(float(losses.max(initial=0)), MAX_LOSS), 10 * low)
    norm, levels = LogNorm(low, high), np.geomspace(low, high, 15)
    rows, columns = math.ceil(len(nets) / 2), min(2, len(nets))
    notes = [
        f"white line: {ERROR_MARGIN:g} points of training error above the trained net (+)",
        "at coordinate 1, the added random weights have the norm of the net's weights",
    ]
    height = rows * 2.5
    with framed_figure(nets, title, height, "the first is drawn", notes, right=0.5) as (figure, _):
        ratios = [1.0] * columns + [0.06]
        grid = figure.add_gridspec(rows, columns + 1, width_ratios=ratios, hspace=0.25)
        for index, (net, (axis, loss)) in enumerate(zip(nets, grids, strict=True)):
            row, column = divmod(index, columns)
            axes = figure.add_subplot(grid[row, column])
            ticks = [0.8 * axis[0], 0, 0.8 * axis[-1]]
            shown = np.nan_to_num(loss, nan=high).clip(low, high)
            axes.contourf(axis, axis, shown.T, levels=levels, norm=norm, cmap="viridis")
            _, errors = arrange_on_grid(net.seeds[0], "error")
            limit = errors[len(axis) // 2, len(axis) // 2] + ERROR_MARGIN
            share = 100 * np.mean(errors <= limit)
            if errors.min() < limit < errors.max():
                axes.contour(axis, axis, errors.T, levels=[limit], colors="white", linewidths=1.5)
            axes.plot(0, 0, "+", color="white", markersize=8)
            axes.set(
                title=f"{net.name}: {share:.0f} % of the plane",
                aspect="equal",
                xticks=ticks,
                yticks=ticks,
            )
            axes.grid(visible=False)
            if row == rows - 1 or index + columns >= len(nets):
                axes.set_xlabel("random direction 1")
            if column == 0:
                axes.set_ylabel("random direction 2")
            else:
                axes.tick_params(labelleft=False)
        bar = figure.add_subplot(grid[0, columns])
        figure.colorbar(ScalarMappable(norm, "viridis"), cax=bar)
        bar.set_title("loss", fontsize=name_size())
        bar.yaxis.set_major_formatter("{x:g}")
        bar.yaxis.set_minor_formatter(NullFormatter())
    return figure


def arrange_on_grid(points: Sequence[Any], quantity: str) -> tuple[Values, Values]:
    """Return the coordinates of a square grid of points, of shape (P,), and their values, (P, P).

    quantity: "loss" or "error".
    """
    axis = sorted({point.first for point in points})
    values = {(point.first, point.second): getattr(point, quantity) for point in points}
    return np.array(axis), np.array([[values[a, b] for b in axis] for a in axis])
