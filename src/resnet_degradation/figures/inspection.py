"""The tables that `resnet-inspect` writes into run folders, drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from resnet_degradation.figures.captions import write_caption
from resnet_degradation.figures.labels import add_header
from resnet_degradation.figures.seeds import NetRows, Row, average, load_nets
from resnet_degradation.figures.style import line_style, muted, rc, twin_colours
from resnet_degradation.records.inspection import (
    FOLDER,
    BlockSizes,
    LayerStatsRow,
    LesionRow,
    read_table,
)


def load_inspected(folders: list[Path], table: str, kind: type[Row]) -> list[NetRows[Row]]:
    """A table of the runs in these folders, by net; runs whose table is empty are left out."""
    return load_nets(folders, lambda folder: read_table(folder / FOLDER / f"{table}.csv", kind))


def plot_signals(nets: list[NetRows[LayerStatsRow]], title: str = "", dark: bool = False) -> Figure:
    """Gradient norms (above) and the spread of outputs (below) of all layers.

    With the last weights (right), and with the initial ones (left) of the nets that recorded them.
    """
    shades = twin_colours([net.config for net in nets], dark)
    from_start = [all(min(r.iteration for r in rows) == 0 for rows in net.seeds) for net in nets]
    columns = [(min, "with the initial weights")] if any(from_start) else []
    columns.append((max, f"after {_last_iterations(nets)} iterations"))
    with rc_context(rc(dark)):
        figure = Figure(figsize=(7.6 if len(columns) > 1 else 4.8, 5.6))
        panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
        for net, initial, shade in zip(nets, from_start, shades, strict=True):
            for (gradients, stds), (pick, _) in zip(panels.T, columns, strict=True):
                if pick is min and not initial:
                    continue
                seeds = []
                for rows in net.seeds:
                    iteration = pick(row.iteration for row in rows)
                    seeds.append([row for row in rows if row.iteration == iteration])
                layers = [row.layer for row in seeds[0]]
                line: Any = {"linestyle": line_style(net.config), "color": shade, "linewidth": 1.3}
                for axes, quantity in ((gradients, "gradient_norm"), (stds, "signal_std")):
                    values = [[getattr(row, quantity) for row in rows] for rows in seeds]
                    axes.plot(layers, np.mean(values, axis=0), label=net.name, **line)
        for axes in panels.flat:
            axes.set_yscale("log")
            axes.set_xlim(left=1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for row in panels:
            _label_logs(row[0])
        for axes, (_, heading) in zip(panels[0], columns, strict=True):
            axes.set_title(heading)
        panels[0][0].set_ylabel("norm of gradient of weights")
        panels[1][0].set_ylabel("std of outputs, before BN")
        for axes in panels[1]:
            axes.set_xlabel("layers, from the images on")
        left = 0.09 if len(columns) > 1 else 0.15
        figure.subplots_adjust(
            left=left, right=0.98, top=0.83, bottom=0.14, hspace=0.16, wspace=0.06
        )
        _finish(figure, nets, title, dark)
    return figure


def _last_iterations(nets: list[NetRows[LayerStatsRow]]) -> str:
    last = {max(row.iteration for row in rows) for net in nets for rows in net.seeds}
    return f"{min(last):,}" if len(last) == 1 else f"{min(last):,} to {max(last):,}"


def _label_logs(axes: Axes) -> None:
    """Label a logarithmic axis with plain numbers, more of them where it spans little."""
    low, high = axes.get_ylim()
    subs = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def plot_sizes(nets: list[NetRows[BlockSizes]], title: str = "", dark: bool = False) -> Figure:
    """The ratio of F(x) to x of every block; hollow where the shortcut is no identity."""
    shades = twin_colours([net.config for net in nets], dark)
    with rc_context(rc(dark)):
        figure = Figure(figsize=(6.4, 3.9))
        axes = figure.subplots()
        for net, shade in zip(nets, shades, strict=True):
            ratios = np.mean([[row.ratio for row in rows] for rows in net.seeds], axis=0)
            places = (np.arange(len(ratios)) + 0.5) / len(ratios)
            axes.plot(places, ratios, color=shade, linewidth=1.1, label=net.name)
            for place, ratio, row in zip(places, ratios, net.seeds[0], strict=True):
                face = shade if row.is_identity else rcParams["axes.facecolor"]
                axes.plot(place, ratio, "o", color=shade, markerfacecolor=face, markersize=4)
        axes.axhline(1, color=muted(dark), linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("blocks, from the images (0) to the scores (1); hollow: no identity")
        axes.set_ylabel("|F(x)| / |x|")
        figure.subplots_adjust(left=0.1, right=0.97, top=0.86, bottom=0.22)
        _finish(figure, nets, title, dark)
    return figure


def plot_lesions(nets: list[NetRows[LesionRow]], title: str = "", dark: bool = False) -> Figure:
    """The error without one block (left), and without several at random (right)."""
    shades = twin_colours([net.config for net in nets], dark)
    with rc_context(rc(dark)):
        figure = Figure(figsize=(7.8, 3.9))
        one, several = figure.subplots(1, 2, sharey=True)
        for net, shade in zip(nets, shades, strict=True):
            line: Any = {"linestyle": line_style(net.config), "color": shade}
            dots = line | {"marker": "o", "markersize": 3}
            singles = [[row for row in rows if row.position > 0] for rows in net.seeds]
            places = [(row.position - 0.5) / row.of for row in singles[0]]
            errors = np.mean([[row.error for row in rows] for rows in singles], axis=0)
            one.plot(places, errors, linewidth=1.1, label=net.name, **dots)
            rows = [row for rows in net.seeds for row in rows]
            whole_net = np.mean([row.error for row in rows if row.count == 0])
            one.axhline(float(whole_net), linewidth=0.6, **line)
            by_count: dict[int, list[float]] = {}
            for row in sorted(rows, key=lambda row: row.count):
                if row.position == 0:
                    by_count.setdefault(row.count, []).append(row.error)
            values = [np.array(errors) for errors in by_count.values()]
            curve = average(np.array([*by_count]), values)
            several.plot(curve.x, curve.mean, **dots)
            low, high = np.clip([curve.mean - curve.spread, curve.mean + curve.spread], 0, 100)
            several.fill_between(curve.x, low, high, color=shade, alpha=0.15, linewidth=0)
        one.set_xlabel("the block left out: from the images (0) to the scores (1)")
        one.set_xlim(0, 1)
        one.set_ylabel("held-out error (%)")
        one.set_ylim(bottom=0)
        several.set_xscale("symlog", base=2, linthresh=1)
        several.xaxis.set_major_formatter("{x:g}")
        several.set_xlabel("how many are left out, at random")
        figure.subplots_adjust(left=0.08, right=0.98, top=0.85, bottom=0.22, wspace=0.06)
        notes = ["level lines: the whole net", "band: one deviation over draws and seeds"]
        _finish(figure, nets, title, dark, notes)
    return figure


def _finish(
    figure: Figure,
    nets: Sequence[NetRows[Any]],
    title: str,
    dark: bool,
    notes: list[str] | None = None,
) -> None:
    """Add the title and the legend above the panels and the caption below them."""
    add_header(figure, title)
    configs, num_seeds = [net.config for net in nets], [len(net.seeds) for net in nets]
    write_caption(figure, configs, num_seeds, dark, drawn_as="their mean", notes=notes)
