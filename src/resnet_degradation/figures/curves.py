"""Training and held-out error against iterations, as in figures 1, 4 and 6 of the paper."""

from itertools import product
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_degradation.config.identity import settings_key
from resnet_degradation.config.schema import PanelConfig
from resnet_degradation.figures import narrow as phone
from resnet_degradation.figures.drawing import Drawing, panel_shows
from resnet_degradation.figures.frame import check_room
from resnet_degradation.figures.labels import (
    LINE_SPACING,
    Label,
    compose_caption,
    label_ends,
    text_width,
    write_caption,
    write_title,
)
from resnet_degradation.figures.net_curves import NetCurves, load_curves
from resnet_degradation.figures.seeds import Curve, draw_curve
from resnet_degradation.figures.style import (
    choose_colours,
    make_lines_thinner,
    muted_colour,
    name_size,
    rc,
)
from resnet_degradation.figures.titles import uncertainty_note
from resnet_degradation.system.errors import UserError

__all__ = ("NetCurves", "extension_title", "load_curves", "plot_curves")

# Held-out errors are bold; training errors are thin (as in figure 4) or dashed (as in figure 6).
THIN: dict[str, Any] = {"linewidth": 0.8, "linestyle": "-"}
DASHED: dict[str, Any] = {"linewidth": 1.0, "linestyle": "--"}
BOLD: dict[str, Any] = {"linewidth": 2.0, "linestyle": "-"}

# Sizes in inches.
PANEL_HEIGHT, PANEL_WIDTH = 2.3, 2.95
LEFT_MARGIN, COLUMN_GAP = 0.62, 0.25
LEGEND_HEIGHT, LEGEND_LINE_HEIGHT = 0.25, 0.16  # first line, each further line

# Sizes in inches of figures for a paper.
MIN_PANEL_WIDTH = 1.5  # if panels side by side would be narrower, they are stacked
ROW_GAP, SMALL_LEFT_MARGIN = 0.3, 0.5
ASPECT = 0.68  # a panel's height divided by its width

# If a run has at least this many iterations, the axis is in units of 1e4, as in the paper.
LONG_RUN = 20_000


def training_style(drawing: Drawing) -> dict[str, Any]:
    """Return the line style of training errors in a panel that also shows held-out errors."""
    return DASHED if drawing.dashed else THIN


def plot_curves(
    nets: list[NetCurves], drawing: Drawing | None = None, dark: bool = False
) -> Figure:
    """Plot errors in the panels of `drawing`: by default plain nets left, residual nets right.

    Training errors are thin (or dashed), held-out errors bold; bands are one standard deviation
    over seeds. The caption names data, schedule and seeds, and is also the figure's label.
    Raises UserError if no panel shows a net.
    """
    drawing = drawing or Drawing()
    shown = [
        (panel, members)
        for panel in drawing.panels
        if (members := [net for net in nets if panel_shows(panel, net.config)])
    ]
    if not shown:
        raise UserError("nothing to draw: no panel shows any of these nets")
    with rc_context(rc(dark, small=drawing.width is not None)):
        curves = [c for panel, group in shown for n in group for _, c in _select_curves(n, panel)]
        top = _choose_y_max(curves, drawing)
        names = [
            label.format(top)
            for panel, group in shown
            for label in _make_labels(panel, group, dark)
        ]
        right_margin = 0.2 if drawing.narrow else 0.1 + text_width(names)
        both = any(panel.errors == "both" for panel, _ in shown)
        left = LEFT_MARGIN if drawing.width is None or drawing.log else SMALL_LEFT_MARGIN
        columns, panel_width, height = (
            (1, phone.WIDTH - left - right_margin, PANEL_HEIGHT)
            if drawing.narrow
            else _arrange_panels(len(shown), left, right_margin, names, drawing.width)
        )
        rows = len(shown) // columns
        width = left + columns * (panel_width + right_margin) + (columns - 1) * COLUMN_GAP
        figure = Figure(figsize=(width, height))
        panels = figure.subplots(
            rows, columns, sharex=rows > 1 and not drawing.narrow, sharey=True, squeeze=False
        )
        for axes, (panel, members) in zip(panels.flat, shown, strict=True):
            _draw_panel(axes, panel, members, drawing, dark)
        bottom = None if drawing.log else 0
        panels[0, 0].set(yscale="log" if drawing.log else "linear", ylim=(bottom, top))
        for axes in panels.flat if drawing.narrow else panels[-1]:
            _label_x_axis(axes, nets, drawing.x, num_ticks=int(panel_width / 0.45))
        only_training = all(panel.errors == "training" for panel, _ in shown)
        for axes in panels[:, 0]:
            axes.set_ylabel("training error (%)" if only_training else "error (%)")
        legend = _legend_entries(nets, drawing) if both else {}
        num_lines = 1 if _fits_on_one_line(legend, width) else len(legend)
        caption_height = 0.0
        figure.set_label(
            compose_caption([net.config for net in nets], [net.num_seeds for net in nets])
        )
        if drawing.width is None:
            caption_height = 0.06 + write_caption(figure, dark)
        bottom_margin = caption_height + (0.49 if drawing.width is None else 0.42)
        bottom_margin += LEGEND_HEIGHT + (num_lines - 1) * LEGEND_LINE_HEIGHT if both else 0
        row_gap, names_per_panel = ROW_GAP, []
        if drawing.narrow:
            names_per_panel = [
                _sort_names(_make_labels(panel, members, dark), top) for panel, members in shown
            ]
            heights = [phone.names_height(names) for names in names_per_panel]
            row_gap += phone.TICKS_HEIGHT + max(heights)
            bottom_margin += heights[-1]
        total_height = bottom_margin + rows * height + (rows - 1) * row_gap
        figure.set_figheight(total_height)
        figure.subplots_adjust(
            left=left / width,
            right=1 - right_margin / width,
            bottom=bottom_margin / total_height,
            top=1,
            wspace=(right_margin + COLUMN_GAP) / panel_width,
            hspace=row_gap / height,
        )
        finding = extension_title(nets) if drawing.width is None else ""
        write_title(figure, finding or drawing.title, drawing.title if finding else "")
        if both:
            _draw_legend(figure, legend, len(legend) // num_lines, dark, caption_height)
        for index, (axes, (panel, members)) in enumerate(zip(panels.flat, shown, strict=True)):
            if drawing.narrow:
                phone.write_names(axes, names_per_panel[index])
            else:
                label_ends(axes, _make_labels(panel, members, dark))
        if drawing.width is not None:
            make_lines_thinner(figure)
    return figure


def _arrange_panels(
    num_panels: int, left: float, right_margin: float, names: list[str], width: float | None
) -> tuple[int, float, float]:
    """Return the number of columns of panels, and a panel's width and height in inches.

    left: inches left of the panels. right_margin: inches for the names right of each panel.
    width: of the whole figure, for a paper; panels are stacked if it is too narrow for a row.
    """
    if width is None:
        return num_panels, PANEL_WIDTH, PANEL_HEIGHT
    columns = num_panels
    if width < left + num_panels * (MIN_PANEL_WIDTH + right_margin) + (num_panels - 1) * COLUMN_GAP:
        columns = 1
    panel = (width - left - (columns - 1) * COLUMN_GAP) / columns - right_margin
    check_room(width, panel, names)
    # A panel is high enough for all names of its curves.
    lines = sum(1 + name.count("\n") for name in names) / num_panels
    return columns, panel, max(ASPECT * panel, lines * LINE_SPACING * name_size() / 72)


def _sort_names(labels: list[Label], top: float) -> list[tuple[str, Line2D]]:
    """Return names with lines of their colours, starting with the curve that ends highest."""
    return [
        (label.format(top).replace("\n", " "), Line2D([], [], color=label.colour))
        for label in sorted(labels, key=lambda label: -label.end)
    ]


def extension_title(nets: list[NetCurves]) -> str:
    """Compare the final errors of an extended net and of the same net trained from scratch."""
    for net, twin in product(nets, nets):
        keys = {settings_key(n.config, exclude={"seed", "extends"}) for n in (net, twin)}
        if (
            net.config.extends
            and twin is not net
            and len(keys) == 1
            and net.final_errors
            and twin.final_errors
        ):
            extended, scratch = (sum(n.final_errors) / len(n.final_errors) for n in (net, twin))
            return (
                f"{twin.name} that begins as plain-{net.config.extends} plus identities ends at "
                f"{extended:.1f} % {net.held_out_name} error, from scratch at {scratch:.1f} %"
                f"{uncertainty_note(net.final_errors, twin.final_errors)}"
            )
    return ""


def _select_curves(net: NetCurves, panel: PanelConfig) -> list[tuple[str, Curve]]:
    """Return (kind, curve) for each measured curve in a panel; the last one gets the label."""
    curves = [("training", net.train), (net.held_out_name, net.held_out)]
    chosen = {"both": curves, "training": curves[:1], "held-out": curves[1:]}[panel.errors]
    return [(kind, curve) for kind, curve in chosen if len(curve.x)]


def _make_labels(panel: PanelConfig, nets: list[NetCurves], dark: bool) -> list[Label]:
    """Make the labels of the nets in one panel."""
    shades = zip(nets, choose_colours([net.config for net in nets], dark), strict=True)
    return [
        Label(net.name, colour, float(curves[-1][1].mean[-1]))
        for net, colour in shades
        if (curves := _select_curves(net, panel))
    ]


def _draw_panel(
    axes: Axes, panel: PanelConfig, nets: list[NetCurves], drawing: Drawing, dark: bool
) -> None:
    kinds = set()
    for net, colour in zip(nets, choose_colours([net.config for net in nets], dark), strict=True):
        for kind, curve in _select_curves(net, panel):
            thin = kind == "training" and panel.errors == "both"
            one_point = len(curve.x) == 1  # would be invisible as a line
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
        axes.text(0.5, 0.5, text, fontsize=name_size(), color=muted_colour(dark), **centre)


def _choose_y_max(curves: list[Curve], drawing: Drawing) -> float:
    """Return the upper end of the error axis.

    This is `drawing.y_max` if it is forced, or if the median curve ends well below it. Otherwise,
    all curves and their bands fit.
    """
    if not curves:
        return 100.0
    if drawing.y_max is not None:
        median = sorted(float(curve.mean[-1]) for curve in curves)[len(curves) // 2]
        if drawing.y_forced or median < 0.9 * drawing.y_max:
            return drawing.y_max
    highest = max(float((curve.mean + curve.spread).max()) for curve in curves)
    return min(100.0, 1.05 * highest) or 1.0


def _label_x_axis(axes: Axes, nets: list[NetCurves], x: str, num_ticks: int) -> None:
    end = max(float(net.train.x[-1]) for net in nets)
    axes.set_xlim(0, end)
    if x == "iteration" and end >= LONG_RUN:
        axes.set_xlabel("iterations (1e4)")
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value / 1e4:g}")
    else:
        axes.set_xlabel({"iteration": "iterations", "epoch": "epochs"}.get(x, x))
        axes.xaxis.set_major_formatter("{x:,g}")
    axes.locator_params(axis="x", nbins=num_ticks)


def _legend_entries(nets: list[NetCurves], drawing: Drawing) -> dict[str, dict[str, Any]]:
    """Return the line style of each entry of the legend."""
    held_out = " / ".join(sorted({net.held_out_name for net in nets}))
    smoothed = f" (mean over {drawing.smooth} rows)" if drawing.smooth > 1 else ""
    return {f"training error{smoothed}": training_style(drawing), f"{held_out} error": BOLD}


def _fits_on_one_line(legend: dict[str, Any], width: float) -> bool:
    size = float(rcParams["font.size"])
    return sum(0.6 + text_width([name], size) for name in legend) < width


def _draw_legend(
    figure: Figure, legend: dict[str, dict[str, Any]], columns: int, dark: bool, height: float
) -> None:
    """Draw a legend `height` inches above the figure's lower edge."""
    handles = [
        Line2D([], [], color=muted_colour(dark), label=name, **legend[name]) for name in legend
    ]
    anchor = (0.5, height / figure.get_figheight())
    figure.legend(handles=handles, loc="lower center", ncols=columns, bbox_to_anchor=anchor)
