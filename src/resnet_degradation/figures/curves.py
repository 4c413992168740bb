"""Training and held-out error against iterations, in the manner of figures 1, 4 and 6.

Everything is drawn from the files of run folders; no trainer is needed, nor any checkpoint.
"""

from typing import TYPE_CHECKING

from resnet_degradation.config.schema import PanelConfig
from resnet_degradation.figures.captions import caption_text, write_caption
from resnet_degradation.figures.curve_data import Curve, NetCurves
from resnet_degradation.figures.drawing import Drawing, shows
from resnet_degradation.figures.labels import SIZE, Label, label_ends, text_width
from resnet_degradation.figures.style import colours, muted, rc
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Line widths: training error is thin and held-out error bold, as in figure 4.
THIN, BOLD = 0.8, 2.0

# Inches: the figure's height, a panel's width, and what lies left of, and between, panels.
HEIGHT, PANEL, LEFT, BETWEEN = 3.7, 2.95, 0.62, 0.25

# From so many iterations on, the axis counts them in units of 1e4, as the paper does.
IN_TEN_THOUSANDS = 20_000


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


def write_note(axes: "Axes", text: str, dark: bool) -> None:
    """Say in the middle of an empty panel why it is empty."""
    axes.annotate(
        text, (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=SIZE, color=muted(dark)
    )


def caption(nets: list[NetCurves]) -> str:
    """The data, the schedule and the number of seeds behind the curves."""
    return caption_text([net.config for net in nets], [net.num_seeds for net in nets])
