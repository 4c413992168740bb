"""Figures of layer responses (figure 7), signals, norms of F(x), and lesions."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import NetRows, average, draw_curve, load_nets
from resnet_degradation.figures.style import muted_colour, name_size
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.records.layers import LayerStats, read_inspection, read_responses
from resnet_degradation.system.errors import UserError

BLOCK_AXIS_LABEL = "block (0: images, 100: logits)"


def load_responses(folders: list[Path]) -> list[NetRows]:
    """Load the layer responses of the finished runs in these folders, grouped by net.

    Raises UserError if there are none, or if a file is damaged.
    """
    nets = load_nets(folders, read_responses)
    if not nets:
        raise UserError("nothing to draw yet: no run has recorded its layer responses")
    return nets


def load_measurements(folders: list[Path], name: str, row: type[Any]) -> list[NetRows]:
    """Load one measurement of the runs in these folders, grouped by net.

    Runs with an empty table are left out. row: the dataclass of the table's rows.

    Raises UserError if a table is missing or damaged.
    """
    return load_nets(folders, lambda folder: read_inspection(folder, name, row))


def select_rows(net: NetRows, pick: Callable[[Iterable[int]], int]) -> list[list[LayerStats]]:
    """Return each seed's rows at its first (pick=min) or last (pick=max) recorded iteration."""
    seeds = []
    for rows in net.seeds:
        iteration = pick(row.iteration for row in rows)
        seeds.append([row for row in rows if row.iteration == iteration])
    return seeds


def plot_responses(
    nets: list[NetRows], title: str = "", drawing: Drawing | None = None, dark: bool = False
) -> Figure:
    """Plot responses in layer order (top) and in descending order (bottom).

    Bands are one standard deviation over seeds.
    """
    deviation = "band: one standard deviation"
    with framed_figure(nets, title, 4.2, deviation, left=0.75, drawing=drawing, dark=dark) as (
        figure,
        lines,
    ):
        in_order, descending = figure.subplots(2, 1, gridspec_kw={"hspace": 0.4})
        # Draw residual nets on top of plain ones.
        for net, colour in sorted(lines, key=lambda pair: pair[0].config.residual):
            stds = np.array([[row.std for row in rows] for rows in net.seeds])  # (seeds, layers)
            for axes, values in ((in_order, stds), (descending, -np.sort(-stds, axis=1))):
                curve = average(np.arange(1, stds.shape[1] + 1), [*values.T])
                draw_curve(axes, curve, colour, linewidth=1.5, label=net.name)
        num_layers = max(len(rows) for net in nets for rows in net.seeds)
        for axes in (in_order, descending):
            axes.set(xlim=(1, num_layers), ylim=(0, None))
            axes.set_ylabel("standard deviation\nof the layer's output")
        in_order.set_xlabel("3x3 layer, counted from the images")
        descending.set_xlabel("3x3 layers, strongest first")
    return figure


def responses_title(nets: list[NetRows]) -> str:
    """State the mean response of each net, averaged over its layers."""
    measured = []
    for net in nets:
        means = [float(np.mean([row.std for row in rows])) for rows in net.seeds]
        measured.append(NetMeasurement(net.name, net.config, float(np.mean(means)), means))
    subject = "Strength of layer responses (standard deviation, mean over layers)"
    return compose_title(subject, measured, "{:.2f}".format)


def plot_signals(nets: list[NetRows], title: str = "") -> Figure:
    """Plot gradient norms (top) and standard deviations of outputs (bottom) of all layers.

    The right panels show the last weights. The left panels show the initial weights, for nets that
    recorded them.
    """
    ends = sorted({rows[0].iteration for net in nets for rows in select_rows(net, max)})
    count = " to ".join(f"{end:,}" for end in sorted({ends[0], ends[-1]}))
    untrained = [n for n in nets if all(rows[0].iteration == 0 for rows in select_rows(n, min))]
    columns = [("before", "before training", min)] if untrained else []
    columns.append(("after", f"after {count} iterations", max))
    notes = ["zigzag: every second layer of a residual net reads a sum F(x) + x"]
    notes = notes if any(net.config.residual for net in nets) else []
    with framed_figure(nets, title, 4.0, notes=notes, left=0.8) as (figure, lines):
        grid = {"hspace": 0.14}
        panels = figure.subplots(2, len(columns), sharey="row", squeeze=False, gridspec_kw=grid)
        for (gradients, stds), (time, heading, pick) in zip(panels.T, columns, strict=True):
            for net, colour in lines:
                if time == "before" and net not in untrained:
                    continue
                seeds = select_rows(net, pick)
                layers = [row.layer for row in seeds[0]]
                # Only the right panels show names.
                name = net.name if time == "after" else f"_{net.name}"
                for axes, quantity in ((gradients, "gradient_norm"), (stds, "signal_std")):
                    values = [[getattr(row, quantity) for row in rows] for rows in seeds]
                    mean = np.mean(values, axis=0)
                    axes.plot(layers, mean, label=name, linewidth=1.3, color=colour)
            gradients.set_title(heading)
            stds.set_xlabel("layer, counted from the images")
        for axes in panels.flat:
            axes.set(yscale="log", xlim=(1, None))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for axes, quantity in zip(
            panels[:, 0],
            ("gradient of a layer\n(norm)", "output of a layer\n(standard deviation)"),
            strict=True,
        ):
            axes.set_ylabel(quantity)
            low, high = axes.get_ylim()
            subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)  # more ticks on a short axis
            axes.yaxis.set_major_locator(LogLocator(subs=subs))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def plot_residual_norms(nets: list[NetRows], title: str = "") -> Figure:
    """Plot ||F(x)|| / ||shortcut(x)|| of every block.

    Markers are hollow if the shortcut is not the identity.
    """
    notes = ["hollow: blocks whose shortcut changes x"]
    with framed_figure(nets, title, 2.6, notes=notes) as (figure, lines):
        axes = figure.subplots()
        for net, colour in lines:
            ratios = np.mean([[row.ratio for row in rows] for rows in net.seeds], axis=0)
            depths = 100 * (np.arange(len(ratios)) + 0.5) / len(ratios)
            axes.plot(depths, ratios, linewidth=1.3, label=net.name, color=colour)
            for depth, ratio, row in zip(depths, ratios, net.seeds[0], strict=True):
                face = colour if row.is_identity else rcParams["axes.facecolor"]
                axes.plot(depth, ratio, "o", color=colour, markerfacecolor=face, markersize=4)
        axes.axhline(1, color=muted_colour(), linewidth=0.8, linestyle=":")
        style: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": name_size()}
        axes.text(100, 1, "F(x) as large as x", color=muted_colour(), **style)
        axes.set(
            xlabel=BLOCK_AXIS_LABEL,
            ylabel="size of F(x) / size of x",
            xlim=(0, 100),
            ylim=(0, None),
        )
    return figure


def plot_lesions(nets: list[NetRows], title: str = "") -> Figure:
    """Plot errors without one block (top: plain and residual nets) and without several (bottom)."""
    kinds = [kind for kind in (False, True) if any(net.config.residual == kind for net in nets)]
    notes = [
        "dashed: the whole net",
        "a removed residual block keeps its shortcut, a removed plain block becomes the identity",
        "band: one deviation over draws and seeds",
    ]
    with framed_figure(nets, title, 4.6, notes=notes) as (figure, lines):
        grid = figure.add_gridspec(2, len(kinds), hspace=0.42)
        single: dict[bool, Axes] = {}
        for column, kind in enumerate(kinds):
            single[kind] = axes = figure.add_subplot(grid[0, column], sharey=single.get(kinds[0]))
            axes.set(xlabel=BLOCK_AXIS_LABEL, xlim=(0, 100))
            axes.set_title(f"one block removed, {'residual' if kind else 'plain'} nets")
            axes.tick_params(labelleft=column == 0)
        several = figure.add_subplot(grid[1, :], sharey=single[kinds[0]])
        for net, colour in lines:
            dots: dict[str, Any] = {"label": net.name, "marker": "o", "markersize": 3}
            one_block = single[net.config.residual]
            singles = [[row for row in rows if row.position > 0] for rows in net.seeds]
            depths = [100 * (row.position - 0.5) / row.of for row in singles[0]]
            errors = np.mean([[row.error for row in rows] for rows in singles], axis=0)
            one_block.plot(depths, errors, color=colour, linewidth=1.3, **dots)
            by_count: dict[int, list[float]] = {}  # errors by number of removed random blocks
            for row in sorted((r for rows in net.seeds for r in rows), key=lambda row: row.count):
                if row.position == 0:
                    by_count.setdefault(row.count, []).append(row.error)
            curve = average(np.array([*by_count]), [np.array(each) for each in by_count.values()])
            one_block.axhline(curve.mean[0], color=colour, linewidth=0.9, linestyle="--")
            draw_curve(several, curve, colour, **dots)
        for axes in (several, single[kinds[0]]):
            axes.set(ylabel="held-out error (%)", ylim=(0, 100))
        several.set_xscale("symlog", base=2, linthresh=1)
        several.xaxis.set_major_formatter("{x:g}")
        several.set(
            xlabel="number of removed blocks", title="random blocks removed", xlim=(0, None)
        )
    return figure
