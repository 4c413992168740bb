"""The common frame of figures: width, colours, title, names of lines, caption."""

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_degradation.figures import narrow as phone
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.labels import (
    caption,
    is_named,
    label_lines,
    text_width,
    write_caption,
    write_title,
)
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import colours, rc, thin_lines
from resnet_degradation.system.errors import UserError

# In inches. WIDTH: of a figure without long names; text is legible at a width of 600 pixels.
# MIN_PANEL: the least width of a panel.
WIDTH, MIN_PANEL = 6.0, 1.4

# The least width of a panel in a paper, in inches.
PAPER_PANEL = 1.2


@contextmanager
def framed(
    nets: list[NetRows],
    title: str,
    height: float,
    drawn_as: str = "their mean",
    notes: list[str] | None = None,
    left: float = 0.62,
    right: float = 0.12,
    drawing: Drawing | None = None,
    dark: bool = False,
) -> Iterator[tuple[Figure, list[tuple[NetRows, str]]]]:
    """A new figure, and the nets with their colours.

    After the caller has drawn the panels, they are arranged between margins of `left` and `right`
    inches, and every named line gets its name at its end. A title goes above the panels, a caption
    below them. If the drawing has a width, for a paper, the caption is only the figure's label.
    height: of the panels and the text between them, in inches. drawn_as: how several seeds are
    drawn, for the caption. drawing: its title goes above `title`, or, with a width, replaces it.
    Raises UserError if that width has no room for the panels beside the names.
    """
    drawing = drawing or Drawing()
    topic, width, narrow = drawing.title, drawing.width, drawing.narrow
    configs, num_seeds = [net.config for net in nets], [len(net.seeds) for net in nets]
    with rc_context(rc(dark, small=width is not None)):
        figure = Figure(figsize=(phone.WIDTH if narrow else width or WIDTH, height))
        yield figure, [*zip(nets, colours(configs, dark), strict=True)]
        names = _named_lines(figure)
        beside, between, columns = (right, 0.0, 1) if narrow else _gaps(figure, right)
        margins = left + beside + (columns - 1) * between
        figure.set_label(caption(configs, num_seeds, drawn_as, notes))
        if width is None:
            width = phone.WIDTH if narrow else max(WIDTH, margins + MIN_PANEL * columns)
            figure.set_figwidth(width)
            below = 0.52 + write_caption(figure, dark)
            below += phone.names_height(names) if narrow else 0
        else:
            check_room(width, (width - margins) / columns, [name for name, _ in names])
            below, title, topic = 0.42, topic, ""
            height *= min(1.0, (width / WIDTH) ** 0.6)
            thin_lines(figure)
        total_height = height + below
        figure.set_figheight(total_height)
        figure.subplots_adjust(
            left=left / width, right=1 - beside / width, bottom=below / total_height, top=1,
            wspace=between * columns / (width - margins),
        )  # fmt: skip
        write_title(figure, title, topic)
        if narrow:
            phone.write_names(figure.axes[-1], names)
        else:
            label_lines(figure)


def check_room(width: float, panel: float, names: list[str]) -> None:
    """Raise UserError if a panel of this width is too narrow in a figure for a paper (inches)."""
    if panel < PAPER_PANEL:
        raise UserError(
            f"a figure of {width:g} inches has no room beside names as long as "
            f"{max(names, key=len)!r}: draw fewer nets, or use a larger width"
        )


def _named_lines(figure: Figure) -> list[tuple[str, Line2D]]:
    """The named lines of all panels, one for each name."""
    lines = (line for axes in figure.axes for line in axes.get_lines())
    return [*{str(line.get_label()): line for line in lines if is_named(line)}.items()]


def _gaps(figure: Figure, right: float) -> tuple[float, float, int]:
    """The inches right of the panels and between them, and the number of columns of panels.

    Both spaces have room for the names of lines.
    """
    beside, between, columns = right, 0.2, 1
    for axes in figure.axes:
        width = text_width([str(line.get_label()) for line in axes.get_lines() if is_named(line)])
        place = axes.get_subplotspec()
        if place is not None:
            columns = max(columns, place.get_gridspec().ncols)
            if width and place.is_last_col():
                beside = max(beside, 0.12 + width)
            elif width:
                between = max(between, 0.2 + width)
    return beside, between, columns
