"""Shattered gradients: how similar gradients are at nearby inputs (Balduzzi et al. 2017)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import muted_colour, name_size


def plot_shattering(nets: list[NetRows], title: str = "") -> Figure:
    """Plot correlation against distance, for the initial (left) and the last weights (right).

    For comparison, white noise (fully shattered gradients) and brown noise (a random walk).
    """
    headings = {"initial": "before training", "trained": "after training"}
    recorded = [w for w in headings if any(row.of == w for net in nets for row in net.seeds[0])]
    grey: dict[str, Any] = {"color": muted_colour()}
    notes = ["inputs on lines between two images"]
    with framed_figure(nets, title, 2.6, notes=notes) as (figure, lines):
        panels = figure.subplots(1, len(recorded), sharey=True, squeeze=False)[0]
        for axes, weights in zip(panels, recorded, strict=True):
            for net, colour in lines:
                seeds = [[row for row in seed if row.of == weights] for seed in net.seeds]
                if all(seeds):
                    distances = [row.distance for row in seeds[0]]
                    values = [[row.correlation for row in seed] for seed in seeds]
                    name = net.name if weights == recorded[-1] else f"_{net.name}"
                    mean = np.mean(values, axis=0)
                    axes.plot(distances, mean, label=name, linewidth=1.6, color=colour)
            for noise, offset in (("white noise", -10), ("brown noise", 5)):
                rows = [row for row in nets[0].seeds[0] if row.of == noise]
                values = [row.correlation for row in rows]
                axes.plot([row.distance for row in rows], values, ":", linewidth=0.9, **grey)
                last = rows[len(rows) * 3 // 4]
                axes.annotate(
                    noise,
                    (last.distance, last.correlation),
                    xytext=(0, offset),
                    textcoords="offset points",
                    fontsize=name_size(),
                    ha="center",
                    **grey,
                )
            axes.set(title=headings[weights], xlabel="distance (64: the other image)")
            axes.set(xlim=(0, None), ylim=(-0.15, 1.02))
        panels[0].set_ylabel("correlation of gradients")
    return figure
