"""What `resnet-inspect` measured, drawn from the tables that it left in run folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from resnet_degradation.config.schema import Config
from resnet_degradation.figures.captions import caption_text, write_caption
from resnet_degradation.figures.curve_data import by_net
from resnet_degradation.figures.legend import head
from resnet_degradation.figures.style import muted, rc, twin_colours
from resnet_degradation.records.inspection import (
    FOLDER,
    BlockSizes,
    LayerStatsRow,
    LesionRow,
    read_table,
)
from resnet_degradation.records.layers import Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Kind = TypeVar("Kind", LayerStatsRow, Response, BlockSizes, LesionRow)


@dataclass(frozen=True)
class Inspected(Generic[Kind]):
    """One net's rows of one table: a list for each of its seeds."""

    name: str
    config: Config
    seeds: list[Sequence[Kind]]


def load_inspected(folders: list[Path], table: str, kind: type[Kind]) -> list[Inspected[Kind]]:
    """A table of the runs in these folders, by net; runs whose table is empty are left out."""
    nets = by_net(folders, lambda folder: read_table(folder / FOLDER / f"{table}.csv", kind))
    return [Inspected(name, config, seeds) for name, config, seeds in nets]


def _line(config: Config) -> str:
    return "-" if config.residual else "--"


def _finish(
    figure: "Figure", nets: Sequence[Inspected[Any]], title: str, dark: bool, band: str = ""
) -> None:
    """What all figures have: title and legend above, a caption below; `band` ends that."""
    head(figure, title)
    configs, num_seeds = [net.config for net in nets], [len(net.seeds) for net in nets]
    write_caption(figure, caption_text(configs, num_seeds, " (their mean)") + band, dark)


def _at(rows: Sequence[LayerStatsRow], iteration: int) -> list[LayerStatsRow]:
    return [row for row in rows if row.iteration == iteration]


def plot_signals(
    nets: list[Inspected[LayerStatsRow]], title: str = "", dark: bool = False
) -> "Figure":
    """Gradient norms (above) and forward signals (below) of all layers.

    With the initial weights (left), where any net's are known, and as the runs were left.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shades = twin_colours([net.config for net in nets], dark)
    began = [all(min(row.iteration for row in rows) == 0 for rows in net.seeds) for net in nets]
    columns = [(min, "with the initial weights")] if any(began) else []
    columns.append((max, f"after {_iterations(nets)} iterations"))
    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(7.6 if len(columns) > 1 else 4.8, 5.6))
        panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
        for net, known, shade in zip(nets, began, shades, strict=True):
            for column, (pick, _) in enumerate(columns):
                if pick is min and not known:
                    continue
                rows_at = [_at(rows, pick(row.iteration for row in rows)) for rows in net.seeds]
                layers = [row.layer for row in rows_at[0]]
                for line, quantity in enumerate(("gradient_norm", "signal_std")):
                    values = np.array([[getattr(r, quantity) for r in rows] for rows in rows_at])
                    panels[line][column].plot(
                        layers, values.mean(axis=0), _line(net.config), color=shade,
                        linewidth=1.3, label=net.name,
                    )  # fmt: skip
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
        figure.subplots_adjust(
            left=0.09 if len(columns) > 1 else 0.15, right=0.98, top=0.83, bottom=0.14,
            hspace=0.16, wspace=0.06,
        )  # fmt: skip
        _finish(figure, nets, title, dark)
    return figure


def _label_logs(axes: "Axes") -> None:
    """Label a logarithmic axis with plain numbers, more of them where it spans little."""
    from matplotlib.ticker import LogLocator, NullFormatter

    least, most = axes.get_ylim()
    subs = (1.0,) if most > 300 * least else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _iterations(nets: list[Inspected[LayerStatsRow]]) -> str:
    """The iterations after which the runs were looked into."""
    last = {max(row.iteration for row in rows) for net in nets for rows in net.seeds}
    return f"{min(last):,}" if len(last) == 1 else f"{min(last):,} to {max(last):,}"


def plot_sizes(nets: list[Inspected[BlockSizes]], title: str = "", dark: bool = False) -> "Figure":
    """The ratio of F(x) to x of every block; hollow where the shortcut is no identity."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shades = twin_colours([net.config for net in nets], dark)
    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(6.4, 3.9))
        axes = figure.subplots()
        paper = str(mpl.rcParams["axes.facecolor"])
        for net, shade in zip(nets, shades, strict=True):
            ratios = np.array([[row.ratio for row in rows] for rows in net.seeds]).mean(axis=0)
            count = len(ratios)
            places = (np.arange(count) + 0.5) / count
            axes.plot(places, ratios, color=shade, linewidth=1.1, label=net.name)
            for place, ratio, row in zip(places, ratios, net.seeds[0], strict=True):
                face = shade if row.is_identity else paper
                axes.plot(place, ratio, "o", color=shade, markerfacecolor=face, markersize=4)
        axes.axhline(1, color=muted(dark), linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("blocks, from the images (0) to the scores (1); hollow: no identity")
        axes.set_ylabel("|F(x)| / |x|")
        figure.subplots_adjust(left=0.1, right=0.97, top=0.86, bottom=0.22)
        _finish(figure, nets, title, dark)
    return figure


def plot_lesions(nets: list[Inspected[LesionRow]], title: str = "", dark: bool = False) -> "Figure":
    """The error without one block (left), and without several at random (right)."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shades = twin_colours([net.config for net in nets], dark)
    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(7.8, 3.9))
        one, many = figure.subplots(1, 2, sharey=True)
        for net, shade in zip(nets, shades, strict=True):
            singles = [row for row in net.seeds[0] if row.position > 0]
            of_seeds = np.array([[r.error for r in rows if r.position > 0] for rows in net.seeds])
            whole = np.mean([row.error for rows in net.seeds for row in rows if row.count == 0])
            places = [(row.position - 0.5) / row.of for row in singles]
            one.plot(
                places, of_seeds.mean(axis=0), _line(net.config), color=shade, marker="o",
                markersize=3, linewidth=1.1, label=net.name,
            )  # fmt: skip
            one.axhline(float(whole), color=shade, linewidth=0.6, linestyle=_line(net.config))
            drawn = [row for rows in net.seeds for row in rows if row.position == 0]
            counts = sorted({row.count for row in drawn})
            errors = [np.array([row.error for row in drawn if row.count == c]) for c in counts]
            mean = np.array([e.mean() for e in errors])
            spread = np.array([e.std(ddof=1) if len(e) > 1 else 0.0 for e in errors])
            many.plot(counts, mean, _line(net.config), color=shade, marker="o", markersize=3)
            many.fill_between(
                counts, np.maximum(0, mean - spread), np.minimum(100, mean + spread), color=shade,
                alpha=0.15, linewidth=0,
            )  # fmt: skip
        one.set_xlabel("the block left out: from the images (0) to the scores (1)")
        one.set_xlim(0, 1)
        one.set_ylabel("held-out error (%)")
        one.set_ylim(bottom=0)
        many.set_xscale("symlog", base=2, linthresh=1)
        many.xaxis.set_major_formatter("{x:g}")
        many.set_xlabel("how many are left out, at random")
        figure.subplots_adjust(left=0.08, right=0.98, top=0.85, bottom=0.22, wspace=0.06)
        _finish(
            figure,
            nets,
            title,
            dark,
            "; level lines: the whole net; band: one deviation over draws and seeds",
        )
    return figure
