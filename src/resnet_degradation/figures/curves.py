"""Training and held-out error against iterations, as in figures 1, 4 and 6."""

from itertools import product
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_degradation.config.identity import settings_key
from resnet_degradation.config.schema import PanelConfig
from resnet_degradation.figures import narrow as phone
from resnet_degradation.figures.drawing import Drawing, shows
from resnet_degradation.figures.frame import check_room
from resnet_degradation.figures.labels import (
    LINE_SPACING,
    Label,
    caption,
    label_ends,
    text_width,
    write_caption,
    write_title,
)
from resnet_degradation.figures.net_curves import NetCurves, load_curves
from resnet_degradation.figures.seeds import Curve, draw_curve
from resnet_degradation.figures.style import colours, muted, name_size, rc, thin_lines
from resnet_degradation.figures.titles import uncertainty_note
from resnet_degradation.system.errors import UserError

__all__ = ("NetCurves", "extension_title", "load_curves", "plot_curves")

# Held-out error is bold; training error is thin, as in figure 4, or dashed, as in figure 6.
THIN: dict[str, Any] = {"linewidth": 0.8, "linestyle": "-"}
DASHED: dict[str, Any] = {"linewidth": 1.0, "linestyle": "--"}
BOLD: dict[str, Any] = {"linewidth": 2.0, "linestyle": "-"}

# In inches. HEIGHT, PANEL: the height and width of a panel. LEFT, BETWEEN: the space left of the
# panels and between them. LEGEND, LEGEND_LINE: the height of a legend, and of each further line.
HEIGHT, PANEL, LEFT, BETWEEN, LEGEND, LEGEND_LINE = 2.3, 2.95, 0.62, 0.25, 0.25, 0.16

# In a paper, in inches. NARROW: the least width of panels side by side; otherwise they are stacked.
# ASPECT: a panel's height divided by its width. ROW_GAP: the space between stacked panels.
# LEFT_SMALL: the space left of the panels.
NARROW, ASPECT, ROW_GAP, LEFT_SMALL = 1.5, 0.68, 0.3, 0.5

# From this many iterations on, the axis counts them in units of 1e4, as the paper does.
IN_TEN_THOUSANDS = 20_000


def training_style(drawing: Drawing) -> dict[str, Any]:
    """The line of training errors in a panel that shows both errors."""
    return DASHED if drawing.dashed else THIN


def plot_curves(
    nets: list[NetCurves], drawing: Drawing | None = None, dark: bool = False
) -> Figure:
    """Errors in the panels of `drawing`: by default plain nets left and residual nets right.

    Training error is thin (or dashed), held-out error bold; a band is one standard deviation over
    seeds. The caption, which is the figure's label too, names data, schedule and seeds.
    Raises UserError if no panel shows a net.
    """
    drawing = drawing or Drawing()
    shown = [
        (panel, members)
        for panel in drawing.panels
        if (members := [net for net in nets if shows(panel, net.config)])
    ]
    if not shown:
        raise UserError("there is nothing to draw: no panel shows any of these nets")
    with rc_context(rc(dark, small=drawing.width is not None)):
        curves = [c for panel, group in shown for n in group for _, c in _panel_curves(n, panel)]
        top = _error_limit(curves, drawing)
        names = [label.text(top) for panel, group in shown for label in _labels(panel, group, dark)]
        beside = 0.2 if drawing.narrow else 0.1 + text_width(names)
        both = any(panel.errors == "both" for panel, _ in shown)
        left = LEFT if drawing.width is None or drawing.log else LEFT_SMALL
        columns, panel_width, height = (
            (1, phone.WIDTH - left - beside, HEIGHT)
            if drawing.narrow
            else _arrange(len(shown), left, beside, names, drawing.width)
        )
        rows = len(shown) // columns
        width = left + columns * (panel_width + beside) + (columns - 1) * BETWEEN
        figure = Figure(figsize=(width, height))
        panels = figure.subplots(
            rows, columns, sharex=rows > 1 and not drawing.narrow, sharey=True, squeeze=False
        )
        for axes, (panel, members) in zip(panels.flat, shown, strict=True):
            _draw_panel(axes, panel, members, drawing, dark)
        bottom = None if drawing.log else 0
        panels[0, 0].set(yscale="log" if drawing.log else "linear", ylim=(bottom, top))
        for axes in panels.flat if drawing.narrow else panels[-1]:
            _label_horizontal(axes, nets, drawing.x, num_ticks=int(panel_width / 0.45))
        only_training = all(panel.errors == "training" for panel, _ in shown)
        for axes in panels[:, 0]:
            axes.set_ylabel("training error (%)" if only_training else "error (%)")
        legend = _legend(nets, drawing) if both else {}
        num_lines = 1 if _fits_a_line(legend, width) else len(legend)
        caption_height = 0.0
        figure.set_label(caption([net.config for net in nets], [net.num_seeds for net in nets]))
        if drawing.width is None:
            caption_height = 0.06 + write_caption(figure, dark)
        below = caption_height + (0.49 if drawing.width is None else 0.42)
        below += LEGEND + (num_lines - 1) * LEGEND_LINE if both else 0
        between, named = ROW_GAP, []
        if drawing.narrow:
            named = [_named(_labels(panel, members, dark), top) for panel, members in shown]
            heights = [phone.names_height(names) for names in named]
            between += phone.TICKS + max(heights)
            below += heights[-1]
        total_height = below + rows * height + (rows - 1) * between
        figure.set_figheight(total_height)
        figure.subplots_adjust(
            left=left / width,
            right=1 - beside / width,
            bottom=below / total_height,
            top=1,
            wspace=(beside + BETWEEN) / panel_width,
            hspace=between / height,
        )
        finding = extension_title(nets) if drawing.width is None else ""
        write_title(figure, finding or drawing.title, drawing.title if finding else "")
        if both:
            _draw_legend(figure, legend, len(legend) // num_lines, dark, caption_height)
        for place, (axes, (panel, members)) in enumerate(zip(panels.flat, shown, strict=True)):
            if drawing.narrow:
                phone.write_names(axes, named[place])
            else:
                label_ends(axes, _labels(panel, members, dark))
        if drawing.width is not None:
            thin_lines(figure)
    return figure


def _arrange(
    num_panels: int, left: float, beside: float, names: list[str], width: float | None
) -> tuple[int, float, float]:
    """How many panels are side by side, and their width and height in inches.

    left: inches left of the panels. beside: the width of the names of curves. width: of the whole
    figure, for a paper; the panels are stacked if they would be too narrow side by side.
    """
    if width is None:
        return num_panels, PANEL, HEIGHT
    columns = num_panels
    if width < left + num_panels * (NARROW + beside) + (num_panels - 1) * BETWEEN:
        columns = 1
    panel = (width - left - (columns - 1) * BETWEEN) / columns - beside
    check_room(width, panel, names)
    # A panel is high enough for all its names, one below the other.
    lines = sum(1 + name.count("\n") for name in names) / num_panels
    return columns, panel, max(ASPECT * panel, lines * LINE_SPACING * name_size() / 72)


def _named(labels: list[Label], top: float) -> list[tuple[str, Line2D]]:
    """The names of curves, the one that ends highest first, with lines of their colours."""
    return [
        (label.text(top).replace("\n", " "), Line2D([], [], color=label.colour))
        for label in sorted(labels, key=lambda label: -label.end)
    ]


def extension_title(nets: list[NetCurves]) -> str:
    """The final errors of a net that starts as a shallower one, and of its twin from scratch."""
    for net, twin in product(nets, nets):
        keys = {settings_key(n.config, exclude={"seed", "extends"}) for n in (net, twin)}
        if net.config.extends and twin is not net and len(keys) == 1 and net.ends and twin.ends:
            own, other = (sum(n.ends) / len(n.ends) for n in (net, twin))
            return (
                f"{twin.name} that begins as plain-{net.config.extends} plus identities ends at "
                f"{own:.1f} % {net.held_out_name} error, from scratch at {other:.1f} %"
                f"{uncertainty_note(net.ends, twin.ends)}"
            )
    return ""


def _panel_curves(net: NetCurves, panel: PanelConfig) -> list[tuple[str, Curve]]:
    """The measured curves of a net that a panel shows, by kind; the one to label comes last."""
    curves = [("training", net.train), (net.held_out_name, net.held_out)]
    chosen = {"both": curves, "training": curves[:1], "held-out": curves[1:]}[panel.errors]
    return [(kind, curve) for kind, curve in chosen if len(curve.x)]


def _labels(panel: PanelConfig, nets: list[NetCurves], dark: bool) -> list[Label]:
    """The names of the nets of one panel, with their final errors."""
    shades = zip(nets, colours([net.config for net in nets], dark), strict=True)
    return [
        Label(net.name, colour, float(curves[-1][1].mean[-1]))
        for net, colour in shades
        if (curves := _panel_curves(net, panel))
    ]


def _draw_panel(
    axes: Axes, panel: PanelConfig, nets: list[NetCurves], drawing: Drawing, dark: bool
) -> None:
    kinds = set()
    for net, colour in zip(nets, colours([net.config for net in nets], dark), strict=True):
        for kind, curve in _panel_curves(net, panel):
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
    one_kind = panel.errors != "both" and kinds
    axes.set_title(panel.title or (f"{' / '.join(sorted(kinds))} error" if one_kind else ""))
    if not kinds:
        centre: dict[str, Any] = {"transform": axes.transAxes, "ha": "center"}
        text = "no held-out error was measured"
        axes.text(0.5, 0.5, text, fontsize=name_size(), color=muted(dark), **centre)


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


def _label_horizontal(axes: Axes, nets: list[NetCurves], x: str, num_ticks: int) -> None:
    end = max(float(net.train.x[-1]) for net in nets)
    axes.set_xlim(0, end)
    if x == "iteration" and end >= IN_TEN_THOUSANDS:
        axes.set_xlabel("iterations (1e4)")
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value / 1e4:g}")
    else:
        axes.set_xlabel({"iteration": "iterations", "epoch": "epochs"}.get(x, x))
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.locator_params(axis="x", nbins=num_ticks)


def _legend(nets: list[NetCurves], drawing: Drawing) -> dict[str, dict[str, Any]]:
    """The lines of a legend of both kinds of error, by their names."""
    held_out = " / ".join(sorted({net.held_out_name for net in nets}))
    smoothed = f" (mean over {drawing.smooth} rows)" if drawing.smooth > 1 else ""
    return {f"training error{smoothed}": training_style(drawing), f"{held_out} error": BOLD}


def _fits_a_line(legend: dict[str, Any], width: float) -> bool:
    size = float(rcParams["font.size"])
    return sum(0.6 + text_width([name], size) for name in legend) < width


def _draw_legend(
    figure: Figure, legend: dict[str, dict[str, Any]], columns: int, dark: bool, above: float
) -> None:
    """Draw a legend `above` inches over the figure's lower edge."""
    handles = [Line2D([], [], color=muted(dark), label=name, **legend[name]) for name in legend]
    place = (0.5, above / figure.get_figheight())
    figure.legend(handles=handles, loc="lower center", ncols=columns, bbox_to_anchor=place)
