"""How alike a net's gradients at nearby inputs are (Balduzzi et al. 2017)."""

from matplotlib.figure import Figure

from resnet_degradation.figures.inspection import framed
from resnet_degradation.figures.labels import FONT_SIZE
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import muted


def plot_shattering(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """Correlation against distance, with the initial (left) and the last weights (right).

    White noise is a completely shattered net; brown noise is a random walk.
    """
    headings = {"initial": "with the initial weights", "trained": "after training"}
    known = [of for of in headings if any(row.of == of for net in nets for row in net.seeds[0])]
    size = (3.6 * len(known) + 0.6, 3.7)
    with framed(nets, title, dark, size) as (figure, lines):
        panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
        for axes, of in zip(panels, known, strict=True):
            for net, line in lines:
                seeds = [[row for row in seed if row.of == of] for seed in net.seeds]
                if all(seeds):
                    distances = [row.distance for row in seeds[0]]
                    means = [
                        sum(row.correlation for row in at) / len(at)
                        for at in zip(*seeds, strict=True)
                    ]
                    axes.plot(distances, means, label=net.name, linewidth=1.6, **line)
            for noise in ("white noise", "brown noise"):
                rows = [row for row in nets[0].seeds[0] if row.of == noise]
                axes.plot(
                    [row.distance for row in rows],
                    [row.correlation for row in rows],
                    color=muted(dark),
                    linewidth=0.9,
                    linestyle=":",
                )
                last = rows[len(rows) * 3 // 4]
                axes.annotate(
                    noise,
                    (last.distance, last.correlation),
                    xytext=(0, 4 if noise == "brown noise" else -9),
                    textcoords="offset points",
                    color=muted(dark),
                    fontsize=FONT_SIZE,
                    ha="center",
                )
            axes.set(
                title=headings[of], xlabel="distance between two inputs (64: a whole line)",
                xlim=(0, None), ylim=(-0.15, 1.02),
            )  # fmt: skip
        panels[0].set_ylabel("correlation of gradients")
        figure.subplots_adjust(left=0.09, right=0.98, top=0.85, bottom=0.24, wspace=0.06)
    return figure
