"""What is measured of nets, as in figure 7: responses, signals, norms of F(x), and lesions."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from resnet_degradation.figures.labels import draw_legend_above, write_caption
from resnet_degradation.figures.seeds import NetRows, average, draw_curve, load_nets
from resnet_degradation.figures.style import colours, muted, rc
from resnet_degradation.records.layers import LayerStats, read_inspection, read_responses
from resnet_degradation.system.errors import UserError


def load_responses(folders: list[Path]) -> list[NetRows]:
    """The responses of the finished runs in these folders, by net, in the order of the folders.

    Raises UserError if there are none, or if a file is damaged.
    """
    nets = load_nets(folders, read_responses)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded its layer responses")
    return nets


def load_inspected(folders: list[Path], name: str, row: type[Any]) -> list[NetRows]:
    """One measurement of the runs in these folders, by net; runs with an empty table are left out.

    row: the dataclass of the table's rows.

    Raises UserError if a table is missing or damaged.
    """
    return load_nets(folders, lambda folder: read_inspection(folder, name, row))


def rows_at(net: NetRows, pick: Callable[[Iterable[int]], int]) -> list[list[LayerStats]]:
    """The rows of each seed at its first (pick=min) or last (pick=max) recorded iteration."""
    seeds = []
    for rows in net.seeds:
        iteration = pick(row.iteration for row in rows)
        seeds.append([row for row in rows if row.iteration == iteration])
    return seeds


@contextmanager
def framed(
    nets: list[NetRows],
    title: str,
    dark: bool,
    size: tuple[float, float],
    drawn_as: str = "their mean",
    notes: list[str] | None = None,
) -> Iterator[tuple[Figure, list[tuple[NetRows, dict[str, Any]]]]]:
    """A new figure, and the nets with the colour and style of their lines: plain ones are dashed.

    When the panels are drawn, it gets a title and a legend above them and a caption below them.
    """
    shades = colours([net.config for net in nets], dark, twins=True)
    lines = [
        (net, {"color": shade, "linestyle": "-" if net.config.residual else "--"})
        for net, shade in zip(nets, shades, strict=True)
    ]
    with rc_context(rc(dark)):
        figure = Figure(figsize=size)
        yield figure, lines
        draw_legend_above(figure, title)
        configs, num_seeds = [net.config for net in nets], [len(net.seeds) for net in nets]
        write_caption(figure, configs, num_seeds, dark, drawn_as, notes)


def plot_responses(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """Responses in layer order (above) and in descending order (below).

    Plain nets dashed, residual nets solid; a band is one standard deviation over seeds.
    """
    deviation = "band: one standard deviation"
    with framed(nets, title, dark, (7.2, 6.2), deviation) as (figure, lines):
        in_order, descending = figure.subplots(2, 1)
        # Residual nets are drawn over plain ones.
        for net, line in sorted(lines, key=lambda pair: pair[0].config.residual):
            stds = np.array([[row.std for row in rows] for rows in net.seeds])  # (seeds, layers)
            width = 1.4 if net.config.residual else 1.1
            for axes, values in ((in_order, stds), (descending, -np.sort(-stds, axis=1))):
                curve = average(np.arange(1, stds.shape[1] + 1), [*values.T])
                draw_curve(axes, curve, linewidth=width, label=net.name, **line)
        num_layers = max(len(rows) for net in nets for rows in net.seeds)
        for axes in (in_order, descending):
            axes.set(ylabel="std of responses", xlim=(1, num_layers), ylim=(0, None))
        in_order.set_xlabel("3x3 layers, from the images on")
        descending.set_xlabel("3x3 layers, strongest first")
        figure.subplots_adjust(left=0.1, right=0.98, top=0.88, bottom=0.12, hspace=0.28)
    return figure


def plot_signals(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """Gradient norms (above) and the spread of outputs (below) of all layers.

    With the last weights (right), and with the initial ones (left) of the nets that recorded them.
    """
    ends = sorted({rows[0].iteration for net in nets for rows in rows_at(net, max)})
    count = " to ".join(f"{end:,}" for end in sorted({ends[0], ends[-1]}))
    known = [net for net in nets if all(rows[0].iteration == 0 for rows in rows_at(net, min))]
    columns = [("with the initial weights", min)] if known else []
    columns.append((f"after {count} iterations", max))
    with framed(nets, title, dark, (7.6 if known else 4.8, 5.6)) as (figure, lines):
        panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
        for (gradients, stds), (heading, pick) in zip(panels.T, columns, strict=True):
            for net, line in lines:
                if pick is min and net not in known:
                    continue
                seeds = rows_at(net, pick)
                layers = [row.layer for row in seeds[0]]
                for axes, quantity in ((gradients, "gradient_norm"), (stds, "signal_std")):
                    values = [[getattr(row, quantity) for row in rows] for rows in seeds]
                    mean = np.mean(values, axis=0)
                    axes.plot(layers, mean, label=net.name, linewidth=1.3, **line)
            gradients.set_title(heading)
            stds.set_xlabel("layers, from the images on")
        for axes in panels.flat:
            axes.set(yscale="log", xlim=(1, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes, quantity in zip(
            panels[:, 0], ("norm of gradient of weights", "std of outputs, before BN"), strict=True
        ):
            axes.set_ylabel(quantity)
            low, high = axes.get_ylim()
            subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)  # more where it spans little
            axes.yaxis.set_major_locator(LogLocator(subs=subs))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        figure.subplots_adjust(
            left=0.09 if known else 0.15,
            right=0.98,
            top=0.83,
            bottom=0.14,
            hspace=0.16,
            wspace=0.06,
        )
    return figure


def plot_residual_norms(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """The ratio of F(x) to x of every block; hollow where the shortcut is no identity."""
    with framed(nets, title, dark, (6.4, 3.9)) as (figure, lines):
        axes = figure.subplots()
        for net, line in lines:
            ratios = np.mean([[row.ratio for row in rows] for rows in net.seeds], axis=0)
            depths = (np.arange(len(ratios)) + 0.5) / len(ratios)
            axes.plot(depths, ratios, linewidth=1.1, label=net.name, **line)
            for depth, ratio, row in zip(depths, ratios, net.seeds[0], strict=True):
                shade = line["color"]
                face = shade if row.is_identity else rcParams["axes.facecolor"]
                axes.plot(depth, ratio, "o", color=shade, markerfacecolor=face, markersize=4)
        axes.axhline(1, color=muted(dark), linewidth=0.8, linestyle=":")
        axes.set(
            xlabel="blocks, from the images (0) to the logits (1); hollow: no identity",
            ylabel="|F(x)| / |x|",
            xlim=(0, 1),
            ylim=(0, None),
        )
        figure.subplots_adjust(left=0.1, right=0.97, top=0.86, bottom=0.22)
    return figure


def plot_lesions(nets: list[NetRows], title: str = "", dark: bool = False) -> Figure:
    """The error without one block (left), and without several at random (right)."""
    notes = ["level lines: the whole net", "band: one deviation over draws and seeds"]
    with framed(nets, title, dark, (7.8, 3.9), notes=notes) as (figure, lines):
        one, several = figure.subplots(1, 2, sharey=True)
        for net, line in lines:
            dots = line | {"marker": "o", "markersize": 3}
            singles = [[row for row in rows if row.position > 0] for rows in net.seeds]
            depths = [(row.position - 0.5) / row.of for row in singles[0]]
            errors = np.mean([[row.error for row in rows] for rows in singles], axis=0)
            one.plot(depths, errors, linewidth=1.1, label=net.name, **dots)
            by_count: dict[int, list[float]] = {}  # of random blocks; 0 is the whole net
            for row in sorted((r for rows in net.seeds for r in rows), key=lambda row: row.count):
                if row.position == 0:
                    by_count.setdefault(row.count, []).append(row.error)
            one.axhline(float(np.mean(by_count[0])), linewidth=0.6, **line)
            curve = average(np.array([*by_count]), [np.array(of) for of in by_count.values()])
            several.plot(curve.x, curve.mean, **dots)
            low, high = np.clip([curve.mean - curve.spread, curve.mean + curve.spread], 0, 100)
            several.fill_between(curve.x, low, high, color=line["color"], alpha=0.15, linewidth=0)
        one.set(
            xlabel="the block left out: from the images (0) to the logits (1)",
            ylabel="held-out error (%)",
            xlim=(0, 1),
            ylim=(0, None),
        )
        several.set_xscale("symlog", base=2, linthresh=1)
        several.xaxis.set_major_formatter("{x:g}")
        several.set_xlabel("how many are left out, at random")
        figure.subplots_adjust(left=0.08, right=0.98, top=0.85, bottom=0.22, wspace=0.06)
    return figure
