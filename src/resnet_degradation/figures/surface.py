"""The loss surface around trained nets, in contours and in perspective (Li et al. 2018)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from resnet_degradation.figures.inspection import framed
from resnet_degradation.figures.seeds import NetRows, Values

PANEL = 2.3  # inches, the width and height of a panel
HIGHEST = 1e3  # larger losses have the colour of this one


def plot_surface(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """Contours (above) and perspective (below) of the training loss, on one colour scale.

    One column for each net: its first seed. The trained net is in the centre.
    """
    grids = [loss_grid(net.seeds[0]) for net in nets]
    losses = np.concatenate([loss.ravel() for _, loss in grids])
    losses = losses[np.isfinite(losses)]
    low = float(np.clip(losses.min(initial=HIGHEST), 1e-4, HIGHEST / 10))
    high = max(min(float(losses.max(initial=0)), HIGHEST), 10 * low)
    norm, levels = LogNorm(low, high), np.geomspace(low, high, 15)
    width = PANEL * len(nets) + 1.2
    notes = [
        "coordinates: 1 adds random weights as large as the net's own",
        f"losses above {HIGHEST:,g} have one colour",
    ]
    with framed(nets, title, dark, (width, 2 * PANEL + 1.0), notes=notes) as (figure, _):
        for column, (net, (axis, loss)) in enumerate(zip(nets, grids, strict=True), 1):
            flat = figure.add_subplot(2, len(nets), column)
            ticks = [0.8 * axis[0], 0, 0.8 * axis[-1]]
            shown = np.nan_to_num(loss, nan=high).clip(low, high)
            flat.contourf(axis, axis, shown.T, levels=levels, norm=norm, cmap="viridis")
            flat.contour(axis, axis, shown.T, levels=levels, colors="white", linewidths=0.3)
            flat.plot(0, 0, "+", color="white", markersize=8)
            flat.set(title=net.name, aspect="equal", xticks=ticks, yticks=ticks)
            flat.grid(visible=False)
            if column > 1:
                flat.yaxis.set_major_formatter(NullFormatter())
            deep: Any = figure.add_subplot(2, len(nets), len(nets) + column, projection="3d")
            deep.plot_surface(
                *np.meshgrid(axis, axis, indexing="ij"), np.log10(shown), cmap="viridis",
                facecolors=ScalarMappable(norm, "viridis").to_rgba(shown), shade=False,
                rstride=1, cstride=1, linewidth=0,
            )  # fmt: skip
            deep.patch.set_visible(False)
            deep.set(zlim=(np.log10(low), np.log10(high)), xticks=[], yticks=[], zticks=[])
        figure.subplots_adjust(
            left=0.4 / width, right=1 - 0.8 / width, top=0.9, bottom=0.1, wspace=0.08, hspace=0.1
        )
        bar = figure.add_axes((1 - 0.68 / width, 0.55, 0.12 / width, 0.33))
        figure.colorbar(ScalarMappable(norm, "viridis"), cax=bar)
        bar.set_title("loss", fontsize=8)
        bar.yaxis.set_major_formatter("{x:g}")
        bar.yaxis.set_minor_formatter(NullFormatter())
    return figure


def loss_grid(points: Sequence[Any]) -> tuple[Values, Values]:
    """The coordinates (P,) and the losses (P, P) of the points of a plane."""
    axis = sorted({point.first for point in points})
    loss = {(point.first, point.second): point.loss for point in points}
    return np.array(axis), np.array([[loss[a, b] for b in axis] for a in axis])
