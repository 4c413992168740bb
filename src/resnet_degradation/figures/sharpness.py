"""The largest eigenvalue of the Hessian, before and after training."""

from matplotlib.figure import Figure

from resnet_degradation.figures.frame import framed
from resnet_degradation.figures.labels import FONT_SIZE, LABEL_SIZE, text_width
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import legible, muted


def plot_sharpness(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """A row for each net: hollow with the initial weights, filled after training."""
    notes = ["hollow: before training, filled: after it"]
    left = 0.2 + text_width([net.name for net in nets], LABEL_SIZE)
    height = 0.4 + 0.36 * len(nets)
    with framed(nets, title, dark, height, "a dot each", notes, left) as (figure, lines):
        axes = figure.subplots()
        for row_number, (net, colour) in enumerate(reversed(lines)):
            for seed in net.seeds:
                known = [row for row in seed if row.value is not None and row.value > 0]
                values = [row.value for row in known]
                axes.plot(values, [row_number] * len(known), linewidth=1.2, color=colour)
                for row in known:
                    face = colour if row is seed[-1] else axes.get_facecolor()
                    axes.plot(row.value, row_number, "o", color=colour, markerfacecolor=face)
        limits = sorted({row.limit for net in nets for seed in net.seeds for row in seed})
        for limit in limits:
            axes.axvline(limit, color=muted(dark), linewidth=0.9, linestyle=":")
        axes.annotate(
            f"unstable at the recipe's rate\nto the right of {limits[-1]:,.3g}",
            (limits[-1], len(nets) - 0.2),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            color=muted(dark),
            fontsize=FONT_SIZE,
        )
        axes.set_yticks(range(len(nets)), [net.name for net, _ in reversed(lines)])
        for text, (_, colour) in zip(axes.get_yticklabels(), reversed(lines), strict=True):
            text.set_color(legible(colour))
        axes.set(xscale="log", ylim=(-0.5, len(nets)))
        axes.set_xlabel("largest eigenvalue of the Hessian of the training loss")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}")
    return figure
