"""The largest eigenvalue of the Hessian along training, beside the limit of stability."""

from statistics import geometric_mean

from matplotlib.figure import Figure

from resnet_degradation.figures.inspection import framed
from resnet_degradation.figures.labels import FONT_SIZE, Label, label_ends, text_width
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import muted

WIDTH = 6.4  # inches


def plot_sharpness(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """Sharpness against iterations: a line for each seed, hollow with the initial weights.

    The dotted steps are the limit at the learning rate of each iteration.
    """
    notes = ["hollow: initial weights", "dotted: 2 (1 + momentum) / learning rate"]
    with framed(nets, title, dark, (WIDTH, 3.6), "a line each", notes) as (figure, lines):
        axes = figure.subplots()
        labels = []
        for net, line in lines:
            seeds = [[r for r in rows if r.value is not None and r.value > 0] for rows in net.seeds]
            for known in filter(None, seeds):
                x, y = [row.iteration for row in known], [row.value for row in known]
                axes.plot(x, y, linewidth=1.1, marker="o", markersize=3, **line)
                if x[0] == 0:
                    face = axes.get_facecolor()
                    hollow = {"color": line["color"], "markerfacecolor": face}
                    axes.plot(0, y[0], "o", markersize=4, zorder=3, clip_on=False, **hollow)
            if ends := [known[-1].value for known in seeds if known]:
                labels.append(Label(net.name, line["color"], geometric_mean(ends)))
        runs = [[(row.iteration, row.limit) for row in seed] for net in nets for seed in net.seeds]
        for run in {tuple(run): None for run in runs}:
            # The limit of a row holds for the iterations before it.
            axes.step(*zip(*run, strict=True), color=muted(dark), linewidth=0.9, linestyle=":")
        axes.annotate(
            "limit of stability",
            runs[0][-1],
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=muted(dark),
            fontsize=FONT_SIZE,
        )
        axes.set(yscale="log", xlabel="iterations", ylabel="largest eigenvalue of the Hessian")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter("{x:,.10g}")
        right = 1 - (text_width([label.name for label in labels]) + 0.15) / WIDTH
        figure.subplots_adjust(left=0.16, right=right, top=0.86, bottom=0.2)
        label_ends(axes, labels)
    return figure
