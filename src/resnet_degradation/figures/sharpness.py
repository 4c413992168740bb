"""The largest eigenvalue of the Hessian (sharpness) during training, and the stability limit."""

from matplotlib.figure import Figure

from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import muted_colour, name_size


def plot_sharpness(nets: list[NetRows], title: str = "") -> Figure:
    """Plot sharpness against iterations, with a line for each seed.

    Hollow markers show the sharpness at the initial weights. Dotted steps show the stability limit
    for the learning rate at each iteration.
    """
    notes = ["hollow: initial weights", "dotted: 2 (1 + momentum) / learning rate"]
    with framed_figure(nets, title, 2.8, "a line each", notes, left=1.1) as (figure, lines):
        axes = figure.subplots()
        for net, colour in lines:
            seeds = [[r for r in rows if r.value is not None and r.value > 0] for rows in net.seeds]
            for number, known in enumerate(filter(None, seeds)):
                x, y = [row.iteration for row in known], [row.value for row in known]
                name = f"_{net.name}" if number else net.name
                axes.plot(x, y, ".-", label=name, linewidth=1.4, color=colour)
                if x[0] == 0:
                    (start,) = axes.plot(0, y[0], "o", markersize=4, color=colour, clip_on=False)
                    start.set(markerfacecolor=axes.get_facecolor(), zorder=3)
        runs = [[(row.iteration, row.limit) for row in seed] for net in nets for seed in net.seeds]
        for run in {tuple(run): None for run in runs}:
            # A row's limit applies to the iterations before it.
            axes.step(*zip(*run, strict=True), color=muted_colour(), linewidth=0.9, linestyle=":")
        axes.annotate(
            "limit of stability",
            runs[0][-1],
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=muted_colour(),
            fontsize=name_size(),
        )
        axes.set(yscale="log", xlabel="iterations", ylabel="largest eigenvalue of the Hessian")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter("{x:,.10g}")
    return figure
