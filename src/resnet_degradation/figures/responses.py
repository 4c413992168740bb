"""Standard deviation of layer responses, in the manner of figure 7; drawn from files alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from resnet_degradation.config.schema import Config
from resnet_degradation.figures.captions import caption_text, write_caption
from resnet_degradation.figures.curve_data import Values, by_net
from resnet_degradation.figures.legend import head
from resnet_degradation.figures.style import rc, twin_colours
from resnet_degradation.records.layers import read_responses
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class HasStd(Protocol):
    """A layer's response."""

    @property
    def std(self) -> float:
        """The standard deviation of the layer's output."""
        ...


@dataclass(frozen=True)
class NetResponses:
    """The responses of one net's 3x3 layers in order, over all of its seeds: (seeds, layers)."""

    name: str
    config: Config
    stds: Values


def load_responses(
    folders: list[Path], read: Callable[[Path], Sequence[HasStd]] = read_responses
) -> list[NetResponses]:
    """The responses of the finished runs in these folders, by net, in the order of the folders.

    read: gives those of one run. Raises UserError if there is none, or if a folder's is damaged.
    """
    nets = by_net(folders, read)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded its layer responses")
    return [
        NetResponses(name, config, np.array([[row.std for row in rows] for rows in records]))
        for name, config, records in nets
    ]


def plot_responses(nets: list[NetResponses], title: str = "", dark: bool = False) -> "Figure":
    """Responses in layer order (above) and in descending order (below).

    Plain nets dashed, residual nets solid; a band is one standard deviation over seeds.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shades = twin_colours([net.config for net in nets], dark)
    # Residual nets are drawn over plain ones.
    shaded = sorted(zip(nets, shades, strict=True), key=lambda pair: pair[0].config.residual)
    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(7.2, 6.2))
        panels = figure.subplots(2, 1)
        for axes, in_order in zip(panels, (True, False), strict=True):
            for net, shade in shaded:
                stds = net.stds if in_order else -np.sort(-net.stds, axis=1)
                layers = np.arange(1, stds.shape[1] + 1)
                mean = stds.mean(axis=0)
                axes.plot(
                    layers,
                    mean,
                    color=shade,
                    linewidth=1.4 if net.config.residual else 1.1,
                    linestyle="-" if net.config.residual else "--",
                    label=net.name,
                )
                if len(stds) > 1:
                    spread = stds.std(axis=0, ddof=1)
                    low, high = mean - spread, mean + spread
                    axes.fill_between(layers, low, high, color=shade, alpha=0.18, linewidth=0)
            axes.set_ylabel("std of responses")
            axes.set_xlim(1, max(net.stds.shape[1] for net in nets))
            axes.set_ylim(bottom=0)
            axes.set_xlabel(
                "3x3 layers, from the images on" if in_order else "3x3 layers, strongest first"
            )
        text = caption_text([net.config for net in nets], [len(net.stds) for net in nets])
        write_caption(figure, text, dark)
        figure.subplots_adjust(left=0.1, right=0.98, top=0.88, bottom=0.12, hspace=0.28)
        head(figure, title)
    return figure
