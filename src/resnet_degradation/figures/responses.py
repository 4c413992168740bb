"""Standard deviation of layer responses, as in figure 7."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from resnet_degradation.figures.captions import write_caption
from resnet_degradation.figures.labels import add_header
from resnet_degradation.figures.seeds import NetRows, average, draw_curve, load_nets
from resnet_degradation.figures.style import line_style, rc, twin_colours
from resnet_degradation.records.layers import Response, read_responses
from resnet_degradation.system.errors import UserError


def load_responses(folders: list[Path]) -> list[NetRows[Response]]:
    """The responses of the finished runs in these folders, by net, in the order of the folders.

    Raises UserError if there are none, or if a file is damaged.
    """
    nets = load_nets(folders, read_responses)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded its layer responses")
    return nets


def plot_responses(nets: list[NetRows[Response]], title: str = "", dark: bool = False) -> Figure:
    """Responses in layer order (above) and in descending order (below).

    Plain nets dashed, residual nets solid; a band is one standard deviation over seeds.
    """
    shades = twin_colours([net.config for net in nets], dark)
    # Residual nets are drawn over plain ones.
    shaded = sorted(zip(nets, shades, strict=True), key=lambda pair: pair[0].config.residual)
    with rc_context(rc(dark)):
        figure = Figure(figsize=(7.2, 6.2))
        in_order, descending = figure.subplots(2, 1)
        for net, shade in shaded:
            stds = np.array([[row.std for row in rows] for rows in net.seeds])  # (seeds, layers)
            for axes, values in ((in_order, stds), (descending, -np.sort(-stds, axis=1))):
                draw_curve(
                    axes,
                    average(np.arange(1, stds.shape[1] + 1), [*values.T]),
                    shade,
                    linewidth=1.4 if net.config.residual else 1.1,
                    linestyle=line_style(net.config),
                    label=net.name,
                )
        for axes in (in_order, descending):
            axes.set_ylabel("std of responses")
            axes.set_xlim(1, max(len(rows) for net in nets for rows in net.seeds))
            axes.set_ylim(bottom=0)
        in_order.set_xlabel("3x3 layers, from the images on")
        descending.set_xlabel("3x3 layers, strongest first")
        figure.subplots_adjust(left=0.1, right=0.98, top=0.88, bottom=0.12, hspace=0.28)
        add_header(figure, title)
        write_caption(figure, [n.config for n in nets], [len(n.seeds) for n in nets], dark)
    return figure
