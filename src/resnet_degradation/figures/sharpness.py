"""The largest eigenvalue of the Hessian, before and after training."""

from matplotlib.figure import Figure

from resnet_degradation.figures.inspection import framed
from resnet_degradation.figures.labels import FONT_SIZE
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import muted


def plot_sharpness(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """A row for each net: hollow with the initial weights, filled after training."""
    notes = ["hollow: initial weights, filled: after training; a dot for each seed"]
    size = (6.2, 1.5 + 0.42 * len(nets))
    with framed(nets, title, dark, size, "a dot each", notes) as (figure, lines):
        axes = figure.subplots()
        for height, (net, line) in enumerate(reversed(lines)):
            for seed in net.seeds:
                known = [row for row in seed if row.value is not None and row.value > 0]
                axes.plot(
                    [row.value for row in known], [height] * len(known), linewidth=0.8, **line
                )
                for row in known:
                    face = line["color"] if row is seed[-1] else axes.get_facecolor()
                    axes.plot(row.value, height, "o", color=line["color"], markerfacecolor=face)
        limits = sorted({row.limit for net in nets for seed in net.seeds for row in seed})
        for limit in limits:
            axes.axvline(limit, color=muted(dark), linewidth=0.9, linestyle=":")
        axes.annotate(
            "stability limit of the recipe's rate",
            (limits[-1], len(nets) - 0.55),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="top",
            color=muted(dark),
            fontsize=FONT_SIZE,
        )
        axes.set_yticks(range(len(nets)), [net.name for net, _ in reversed(lines)])
        axes.set(xscale="log", ylim=(-0.5, len(nets) - 0.5))
        axes.set_xlabel("largest eigenvalue of the Hessian of the training loss")
        axes.xaxis.set_major_formatter("{x:g}")
        figure.subplots_adjust(left=0.2, right=0.97, top=0.88, bottom=0.3)
    return figure
