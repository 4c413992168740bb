"""Training and held-out error against iterations, as in figures 1, 4 and 6."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_degradation.config.identity import key_without
from resnet_degradation.config.schema import Config, PanelConfig
from resnet_degradation.figures.drawing import Drawing, shows
from resnet_degradation.figures.labels import (
    FONT_SIZE,
    Label,
    label_ends,
    text_width,
    write_caption,
    write_title,
)
from resnet_degradation.figures.seeds import Curve, NetRows, average, draw_curve, load_nets
from resnet_degradation.figures.style import colours, muted, rc
from resnet_degradation.figures.titles import reservation
from resnet_degradation.records.metrics import Row, read_metrics
from resnet_degradation.records.run_folder import read_extension
from resnet_degradation.system.errors import UserError

# Held-out error is bold; training error is thin, as in figure 4, or dashed, as in figure 6.
THIN: dict[str, Any] = {"linewidth": 0.8, "linestyle": "-"}
DASHED: dict[str, Any] = {"linewidth": 1.0, "linestyle": "--"}
BOLD: dict[str, Any] = {"linewidth": 2.0, "linestyle": "-"}

# Inches: a panel's height and width, the space left of, and between, panels, the legend's height.
HEIGHT, PANEL, LEFT, BETWEEN, LEGEND = 2.3, 2.95, 0.62, 0.25, 0.25

# From this many iterations on, the axis counts them in units of 1e4, as the paper does.
IN_TEN_THOUSANDS = 20_000


def training_style(drawing: Drawing) -> dict[str, Any]:
    """The line of training errors in a panel that shows both errors."""
    return DASHED if drawing.dashed else THIN


@dataclass(frozen=True)
class NetCurves:
    """The errors of one net in percent, averaged over its seeds."""

    name: str
    config: Config
    num_seeds: int
    train: Curve
    held_out: Curve
    held_out_name: str  # "validation" or "test"
    ends: Sequence[float] = ()  # the last held-out error of every seed


def load_curves(folders: list[Path], x: str = "iteration", smooth: int = 1) -> list[NetCurves]:
    """The curves of the runs in these folders, averaged over seeds, in the order of the folders.

    x: the column of metrics.csv on the horizontal axis. smooth: how many rows a point of a training
    curve averages (its own and those before it).

    Runs that differ in more than the seed are different nets; if these have the same name, the
    settings that differ are added to it. Raises UserError if no run has recorded a row, or if the
    seeds of a net have no iteration in common.
    """
    nets = load_nets(folders, _read_rows)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded a row")
    return [_average_seeds(net, x, smooth) for net in nets]


def _read_rows(folder: Path) -> list[Row]:
    """A run's rows; for a net extended from a shallower one, first its errors before training."""
    rows = read_metrics(folder)
    extension = read_extension(folder)
    if extension is None or not rows:
        return rows
    deep = extension["deep"]
    start = replace(
        rows[0],
        iteration=0,
        epoch=0.0,
        seconds=0.0,
        train_error=deep["train_error"],
        val_error=deep["held_out_errors"].get("val"),
        test_error=deep["held_out_errors"].get("test"),
    )
    return [start, *rows]


def _average_seeds(net: NetRows, x: str, smooth: int) -> NetCurves:
    if not set.intersection(*({row.iteration for row in rows} for rows in net.seeds)):
        raise UserError(
            f"the {len(net.seeds)} runs of {net.name} have no recorded iteration in common, "
            "so they cannot be averaged: draw them one by one"
        )
    validated = any(row.val_error is not None for rows in net.seeds for row in rows)
    held_out = attrgetter("val_error" if validated else "test_error")
    return NetCurves(
        name=net.name,
        config=net.config,
        num_seeds=len(net.seeds),
        train=_average_error(net.seeds, attrgetter("train_error"), x, smooth),
        held_out=_average_error(net.seeds, held_out, x, 1),
        held_out_name="validation" if validated else "test",
        ends=[errors[-1] for rows in net.seeds if (errors := _known(rows, held_out))],
    )


def _known(rows: Sequence[Row], error: Callable[[Row], float | None]) -> list[float]:
    return [value for row in rows if (value := error(row)) is not None]


def _average_error(
    seeds: list[Sequence[Row]], error: Callable[[Row], float | None], x: str, smooth: int
) -> Curve:
    """The mean over seeds at the iterations at which all of them measured this error."""
    measured = [{row.iteration: row for row in rows if error(row) is not None} for rows in seeds]
    common = sorted(set.intersection(*(set(rows) for rows in measured)))
    x_values = np.array([[getattr(rows[i], x) for i in common] for rows in measured], dtype=float)
    errors = np.array([[error(rows[i]) for i in common] for rows in measured], dtype=float)
    windows = [slice(max(0, end - smooth), end) for end in range(1, len(common) + 1)]
    return average(x_values.mean(axis=0), [errors[:, window].mean(axis=1) for window in windows])


def plot_curves(
    nets: list[NetCurves], drawing: Drawing | None = None, dark: bool = False
) -> Figure:
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
    with rc_context(rc(dark)):
        figure = Figure(figsize=(LEFT + PANEL * len(shown), HEIGHT))
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        labels = [
            _draw_panel(axes, panel, members, drawing, dark)
            for axes, (panel, members) in zip(panels, shown, strict=True)
        ]
        drawn = [c for panel, group in shown for n in group for _, c in _panel_curves(n, panel)]
        top = _error_limit(drawn, drawing)
        bottom = None if drawing.log else 0
        panels[0].set(yscale="log" if drawing.log else "linear", ylim=(bottom, top))
        for axes in panels:
            _label_horizontal(axes, nets, drawing.x)
        only_training = all(panel.errors == "training" for panel, _ in shown)
        panels[0].set_ylabel("training error (%)" if only_training else "error (%)")
        beside = 0.1 + text_width([label.text(top) for group in labels for label in group])
        width = LEFT + len(shown) * (PANEL + beside) + (len(shown) - 1) * BETWEEN
        figure.set_figwidth(width)
        configs = [net.config for net in nets]
        caption = write_caption(figure, configs, [net.num_seeds for net in nets], dark)
        both = any(panel.errors == "both" for panel, _ in shown)
        below = 0.55 + caption + (LEGEND if both else 0)
        figure.set_figheight(below + HEIGHT)
        figure.subplots_adjust(
            left=LEFT / width,
            right=1 - beside / width,
            bottom=below / (below + HEIGHT),
            top=1,
            wspace=(beside + BETWEEN) / PANEL,
        )
        finding = extension_title(nets)
        write_title(figure, finding or drawing.title, drawing.title if finding else "")
        if both:
            _draw_legend(figure, nets, drawing, dark, 0.06 + caption)
        for axes, group in zip(panels, labels, strict=True):
            label_ends(axes, group)
    return figure


def extension_title(nets: list[NetCurves]) -> str:
    """Where a net ends that begins as a shallower one, and where its twin from scratch does."""
    for net, twin in product(nets, nets):
        keys = {key_without(one.config, {"seed", "extends"}) for one in (net, twin)}
        if net.config.extends and twin is not net and len(keys) == 1 and net.ends and twin.ends:
            own, other = (sum(one.ends) / len(one.ends) for one in (net, twin))
            return (
                f"{twin.name} that begins as plain-{net.config.extends} plus identities ends at "
                f"{own:.1f} % {net.held_out_name} error, from scratch at {other:.1f} %"
                f"{reservation(net.ends, twin.ends)}"
            )
    return ""


def _panel_curves(net: NetCurves, panel: PanelConfig) -> list[tuple[str, Curve]]:
    """The measured curves of a net that a panel shows, by kind; the one to label comes last."""
    curves = [("training", net.train), (net.held_out_name, net.held_out)]
    chosen = {"both": curves, "training": curves[:1], "held-out": curves[1:]}[panel.errors]
    return [(kind, curve) for kind, curve in chosen if len(curve.x)]


def _draw_panel(
    axes: Axes, panel: PanelConfig, nets: list[NetCurves], drawing: Drawing, dark: bool
) -> list[Label]:
    """Draw the curves of one panel; return the labels of their ends."""
    labels, kinds = [], set()
    for net, colour in zip(nets, colours([net.config for net in nets], dark), strict=True):
        curves = _panel_curves(net, panel)
        for kind, curve in curves:
            thin = kind == "training" and panel.errors == "both"
            one_point = len(curve.x) == 1  # a line of one point is invisible
            draw_curve(
                axes,
                curve,
                colour,
                marker="o" if one_point else "",
                clip_on=not one_point,
                label=f"{net.name} {kind}",
                **(training_style(drawing) if thin else BOLD),
            )
            kinds.add(kind)
        if curves:
            labels.append(Label(net.name, colour, float(curves[-1][1].mean[-1])))
    one_kind = panel.errors != "both" and kinds
    axes.set_title(panel.title or (f"{' / '.join(sorted(kinds))} error" if one_kind else ""))
    if not labels:
        centre: dict[str, Any] = {"transform": axes.transAxes, "ha": "center"}
        text = "no held-out error was measured"
        axes.text(0.5, 0.5, text, fontsize=FONT_SIZE, color=muted(dark), **centre)
    return labels


def _error_limit(curves: list[Curve], drawing: Drawing) -> float:
    """The upper end of the error axis.

    The y_max of `drawing`, if it is forced or the median curve ends well below it. Otherwise all
    curves fit, with their bands.
    """
    if not curves:
        return 100.0
    if drawing.y_max is not None:
        median = sorted(float(curve.mean[-1]) for curve in curves)[len(curves) // 2]
        if drawing.y_forced or median < 0.9 * drawing.y_max:
            return drawing.y_max
    highest = max(float((curve.mean + curve.spread).max()) for curve in curves)
    return min(100.0, 1.05 * highest) or 1.0


def _label_horizontal(axes: Axes, nets: list[NetCurves], x: str) -> None:
    end = max(float(net.train.x[-1]) for net in nets)
    axes.set_xlim(0, end)
    if x == "iteration" and end >= IN_TEN_THOUSANDS:
        axes.set_xlabel("iterations (1e4)")
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value / 1e4:g}")
    else:
        axes.set_xlabel({"iteration": "iterations", "epoch": "epochs"}.get(x, x))
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.locator_params(axis="x", nbins=6)


def _draw_legend(
    figure: Figure, nets: list[NetCurves], drawing: Drawing, dark: bool, above: float
) -> None:
    held_out = " / ".join(sorted({net.held_out_name for net in nets}))
    smoothed = f" (mean over {drawing.smooth} rows)" if drawing.smooth > 1 else ""
    lines = {f"training error{smoothed}": training_style(drawing), f"{held_out} error": BOLD}
    figure.legend(
        handles=[
            Line2D([], [], color=muted(dark), label=name, **line) for name, line in lines.items()
        ],
        loc="lower center",
        ncols=2,
        bbox_to_anchor=(0.5, above / figure.get_figheight()),
    )
