"""Training and held-out error against iterations, in the manner of figures 1, 4 and 6.

Everything is drawn from the files of run folders; no trainer is needed, nor any checkpoint.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from resnet_degradation.config import Config, PanelConfig, data_name
from resnet_degradation.durations import is_fraction
from resnet_degradation.errors import UserError
from resnet_degradation.figures.drawing import Drawing, shows
from resnet_degradation.figures.labels import SIZE, Label, label_ends, text_width
from resnet_degradation.figures.style import colours, muted, rc
from resnet_degradation.naming import group_by_net
from resnet_degradation.runs import Row, read_config, read_extension, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Line widths: training error is thin and held-out error bold, as in figure 4.
THIN, BOLD = 0.8, 2.0

# Inches: the figure's height, a panel's width, and what lies left of, and between, panels.
HEIGHT, PANEL, LEFT, BETWEEN = 3.7, 2.95, 0.62, 0.25

# From so many iterations on, the axis counts them in units of 1e4, as the paper does.
IN_TEN_THOUSANDS = 20_000

Record = TypeVar("Record")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """An error in percent: its mean over seeds, and their standard deviation, at each `x`.

    `spread` is zero where there is one seed.
    """

    x: Values
    mean: Values
    spread: Values


@dataclass(frozen=True)
class NetCurves:
    """The curves of one net over all of its seeds."""

    name: str
    config: Config
    num_seeds: int
    train: Curve
    held_out: Curve
    held_out_name: str  # "validation" or "test"


def load_curves(folders: list[Path], x: str = "iteration", smooth: int = 1) -> list[NetCurves]:
    """The curves of the runs in these folders, averaged over seeds, in the order of the folders.

    x: the column of the record on the horizontal axis. smooth: how many rows a point of a training
    curve averages (itself and those before it).

    Runs that differ in more than the seed are kept apart; where nets of one name do, the names
    tell in what. Raises UserError if a folder holds no run.
    """
    nets = by_net(folders, _record)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded a row")
    return [_over_seeds(name, config, records, x, smooth) for name, config, records in nets]


def _record(folder: Path) -> list[Row]:
    """A run's rows; of one that began with another net's solution, what it was then like first."""
    rows = read_metrics(folder)
    facts = read_extension(folder)
    if facts is None or not rows:
        return rows
    held_out = facts["deep"]["held_out_errors"]
    beginning = replace(
        rows[0],
        iteration=0,
        epoch=0.0,
        seconds=0.0,
        train_error=facts["deep"]["train_error"],
        val_error=held_out.get("val"),
        test_error=held_out.get("test"),
    )
    return [beginning, *rows]


def by_net(
    folders: list[Path], read: Callable[[Path], Sequence[Record]]
) -> list[tuple[str, Config, list[Sequence[Record]]]]:
    """Name, configuration and records of each net in these folders, one record for every seed.

    read: gives the record of a run folder; a run whose record is empty is left out.
    """
    distinct = dict.fromkeys(folder.resolve() for folder in folders)
    runs = ((read_config(folder), read(folder)) for folder in distinct)
    return group_by_net((config, record) for config, record in runs if record)


def _over_seeds(
    name: str, config: Config, records: list[Sequence[Row]], x: str, smooth: int
) -> NetCurves:
    if not set.intersection(*({row.iteration for row in rows} for rows in records)):
        raise UserError(
            f"the {len(records)} runs of {name} have no recorded iteration in common to average "
            "at: draw them one by one"
        )
    validated = any(row.val_error is not None for rows in records for row in rows)
    held_out = attrgetter("val_error" if validated else "test_error")
    return NetCurves(
        name=name,
        config=config,
        num_seeds=len(records),
        train=_curve(records, attrgetter("train_error"), x, smooth),
        held_out=_curve(records, held_out, x, 1),
        held_out_name="validation" if validated else "test",
    )


def _curve(
    records: list[Sequence[Row]], error: Callable[[Row], float | None], x: str, smooth: int
) -> Curve:
    """The mean over runs at the iterations at which all of them have measured this error."""
    measured = [
        {
            row.iteration: (getattr(row, x), value)
            for row in rows
            if (value := error(row)) is not None
        }
        for rows in records
    ]
    common = sorted(set.intersection(*(set(points) for points in measured)))
    if not common:
        return Curve(np.array([]), np.array([]), np.array([]))
    points = np.array([[of_run[iteration] for iteration in common] for of_run in measured])
    errors = np.stack([_trailing_mean(of_run, smooth) for of_run in points[:, :, 1]])
    spread = errors.std(axis=0, ddof=1) if len(records) > 1 else np.zeros(len(common))
    return Curve(points[:, :, 0].mean(axis=0), errors.mean(axis=0), spread)


def _trailing_mean(values: Values, window: int) -> Values:
    """The mean of each value and the up to `window` - 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: Values = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def plot_curves(
    nets: list[NetCurves], drawing: Drawing | None = None, dark: bool = False
) -> "Figure":
    """Errors in the panels of `drawing`: by default plain nets left and residual nets right.

    Training error is thin (or dashed), held-out error bold; a band is one standard deviation over
    seeds. The caption names data, schedule and seeds. Raises UserError if no panel shows a net.
    """
    drawing = drawing or Drawing()
    shown = [
        (panel, members)
        for panel in drawing.panels
        if (members := [net for net in nets if shows(panel, net.config)])
    ]
    if not shown:
        raise UserError("there is nothing to draw: no panel shows any of these nets")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(LEFT + PANEL * len(shown), HEIGHT))
        rows = figure.subplots(1, len(shown), sharey=True, squeeze=False)
        top = _top(shown, drawing)
        labels = []
        for axes, (panel, members) in zip(rows[0], shown, strict=True):
            shades = colours([net.config for net in members], dark)
            for net, colour in zip(members, shades, strict=True):
                _draw(axes, net, panel, colour, drawing)
            if drawing.log:
                axes.set_yscale("log")
            else:
                axes.set_ylim(0, top)
            axes.set_title(panel.title or _usual_title(panel, members))
            _label_horizontal(axes, nets, drawing.x)
            ends = [
                (net.name, shade, _end(net, panel))
                for net, shade in zip(members, shades, strict=True)
            ]
            labels.append([Label(name, shade, end) for name, shade, end in ends if end is not None])
            if not labels[-1]:
                write_note(axes, "no held-out error was measured", dark)
        if drawing.log:  # once all panels, which share the axis, have told how low it goes
            rows[0][0].set_ylim(top=top)
        kinds = {panel.errors for panel, _ in shown}
        kind = "training " if kinds == {"training"} else ""
        rows[0][0].set_ylabel(f"{kind}error (%)")
        beside = 0.1 + text_width([label.text(top) for group in labels for label in group])
        width = LEFT + len(shown) * (PANEL + beside) + (len(shown) - 1) * BETWEEN
        figure.set_figwidth(width)
        _legend(figure, nets, shown, drawing, dark)
        write_caption(figure, caption(nets), dark)
        if drawing.title:
            figure.suptitle(drawing.title)
        figure.subplots_adjust(
            left=LEFT / width,
            right=1 - beside / width,
            bottom=0.25,
            top=0.83 if drawing.title else 0.9,
            wspace=(beside + BETWEEN) / PANEL,
        )
        for axes, group in zip(rows[0], labels, strict=True):
            label_ends(axes, group)
    return figure


def _parts(net: NetCurves, panel: PanelConfig) -> list[tuple[str, Curve]]:
    """What a panel draws of a net."""
    parts = [("training", net.train), (net.held_out_name, net.held_out)]
    chosen = {"both": parts, "training": parts[:1], "held-out": parts[1:]}[panel.errors]
    return [(name, curve) for name, curve in chosen if len(curve.x)]


def _usual_title(panel: PanelConfig, members: list[NetCurves]) -> str:
    """What a panel without a title shows, where that is one kind of error."""
    names = {name for net in members for name, _ in _parts(net, panel)}
    return "" if panel.errors == "both" or not names else f"{' / '.join(sorted(names))} error"


def _end(net: NetCurves, panel: PanelConfig) -> float | None:
    """Where the bold curve ends, or the thin one where nothing was held out yet."""
    parts = _parts(net, panel)
    return float(parts[-1][1].mean[-1]) if parts else None


def _top(shown: list[tuple[PanelConfig, list[NetCurves]]], drawing: Drawing) -> float:
    """The upper end of the error axis."""
    curves = [curve for panel, nets in shown for net in nets for _, curve in _parts(net, panel)]
    if not curves:
        return 100.0
    ends = sorted(float(curve.mean[-1]) for curve in curves)
    if drawing.y_max is not None:
        fits = ends[len(ends) // 2] < 0.9 * drawing.y_max
        if fits or drawing.y_forced:
            return drawing.y_max
    highest = max(float((curve.mean + curve.spread).max()) for curve in curves)
    return min(100.0, 1.05 * highest) or 1.0


def _draw(axes: "Axes", net: NetCurves, panel: PanelConfig, colour: str, drawing: Drawing) -> None:
    for kind, curve in _parts(net, panel):
        thin = kind == "training" and panel.errors == "both"
        axes.plot(
            curve.x,
            curve.mean,
            color=colour,
            linewidth=(1.0 if drawing.dashed else THIN) if thin else BOLD,
            linestyle="--" if thin and drawing.dashed else "-",
            # A line of one point cannot be seen.
            marker="o" if len(curve.x) == 1 else "",
            clip_on=len(curve.x) > 1,
            label=f"{net.name} {kind}",
        )
        if net.num_seeds > 1:
            low, high = curve.mean - curve.spread, curve.mean + curve.spread
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.18, linewidth=0)


def _label_horizontal(axes: "Axes", nets: list[NetCurves], x: str) -> None:
    end = max(float(net.train.x[-1]) for net in nets)
    axes.set_xlim(0, end)
    if x == "iteration" and end >= IN_TEN_THOUSANDS:
        axes.set_xlabel("iterations (1e4)")
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value / 1e4:g}")
    else:
        axes.set_xlabel({"iteration": "iterations", "epoch": "epochs"}.get(x, x))
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.locator_params(axis="x", nbins=6)


def _legend(
    figure: "Figure",
    nets: list[NetCurves],
    shown: list[tuple[PanelConfig, list[NetCurves]]],
    drawing: Drawing,
    dark: bool,
) -> None:
    if all(panel.errors != "both" for panel, _ in shown):
        return
    from matplotlib.lines import Line2D

    held_out = " / ".join(sorted({net.held_out_name for net in nets}))
    thin = {"linewidth": 1.0, "linestyle": "--"} if drawing.dashed else {"linewidth": THIN}
    over = f" (mean over {drawing.smooth} rows)" if drawing.smooth > 1 else ""
    figure.legend(
        handles=[
            Line2D([], [], color=muted(dark), label=f"training error{over}", **thin),
            Line2D([], [], color=muted(dark), linewidth=BOLD, label=f"{held_out} error"),
        ],
        loc="lower center",
        ncols=2,
        bbox_to_anchor=(0.5, 0.06),
    )


def caption(nets: list[NetCurves]) -> str:
    """The data, the schedule and the number of seeds behind the curves."""
    return caption_text([net.config for net in nets], [net.num_seeds for net in nets])


def caption_text(
    configs: list[Config], num_seeds: list[int], of_seeds: str = " (band: one standard deviation)"
) -> str:
    """The data, the schedule and the number of seeds of these nets.

    of_seeds: how several of them are drawn.
    """
    seeds = " / ".join(map(str, sorted(set(num_seeds))))
    seeds += " seed" if set(num_seeds) == {1} else f" seeds{of_seeds}"
    return f"{conditions(configs)}; {seeds}"


def write_caption(figure: "Figure", text: str, dark: bool) -> None:
    """Write a caption below a figure, in as many lines as its width asks for."""
    room = figure.get_figwidth() - 0.2
    length = text_width([text])
    lines = textwrap.wrap(text, max(20, int(len(text) * min(1, 0.95 * room / length))))
    figure.text(0.5, 0.01, "\n".join(lines), ha="center", fontsize=SIZE, color=muted(dark))


def write_note(axes: "Axes", text: str, dark: bool) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.annotate(
        text, (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=SIZE, color=muted(dark)
    )


def conditions(configs: list[Config]) -> str:
    """The data and the schedule of some runs."""
    data = _all_of({f"{data_name(c)} {c.data.image_size}x{c.data.image_size}" for c in configs})
    length = _all_of({_length(c) for c in configs})
    batch = _all_of({str(c.recipe.batch_size) for c in configs})
    return f"{data}; {length} of {batch} images; {_all_of({_rate(c) for c in configs})}"


def _all_of(values: set[str]) -> str:
    return " / ".join(sorted(values))


def _length(config: Config) -> str:
    length = config.recipe.iterations
    return f"{length:,} iterations" if isinstance(length, int) else f"{length}, in batches"


def _rate(config: Config) -> str:
    recipe = config.recipe
    rate = f"rate {recipe.lr:g}"
    if recipe.schedule == "plateau":
        return f"{rate}, times {recipe.gamma:g} on a plateau"
    if not recipe.milestones:
        return rate
    points = [
        f"{milestone:.0%}" if is_fraction(milestone) else f"{milestone}"
        for milestone in recipe.milestones
    ]
    return f"{rate}, times {recipe.gamma:g} at {' and '.join(points)}"
