"""Common parts of figures: width, colours, title, names of lines, caption."""

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resnet_degradation.figures import narrow as phone
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.labels import (
    compose_caption,
    is_named,
    label_lines,
    text_width,
    write_caption,
    write_title,
)
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.style import choose_colours, make_lines_thinner, rc
from resnet_degradation.system.errors import UserError

# Sizes in inches.
WIDTH = 6.0  # of a figure without long names; its text is legible at 600 pixels
MIN_PANEL_WIDTH = 1.4
MIN_PANEL_WIDTH_IN_PAPER = 1.2


@contextmanager
def framed_figure(
    nets: list[NetRows],
    title: str,
    height: float,
    seeds_note: str = "their mean",
    notes: list[str] | None = None,
    left: float = 0.62,
    right: float = 0.12,
    drawing: Drawing | None = None,
    dark: bool = False,
) -> Iterator[tuple[Figure, list[tuple[NetRows, str]]]]:
    """Yield a new figure, and the nets with their colours; lay out the figure afterwards.

    Inside the block, the caller draws the panels. They are then arranged between margins of `left`
    and `right` inches. Each line gets its name at its end, and the figure gets a title and a
    caption. If the drawing has a width, for a paper, the caption is only the figure's label.

    height: of the panels and the text between them, in inches. seeds_note: tells in the caption how
    several seeds are drawn. drawing: its title goes above `title`, or replaces it if there is a
    width.

    Raises UserError if a figure of that width is too narrow for the panels and names.
    """
    drawing = drawing or Drawing()
    topic, width, narrow = drawing.title, drawing.width, drawing.narrow
    configs, num_seeds = [net.config for net in nets], [len(net.seeds) for net in nets]
    with rc_context(rc(dark, small=width is not None)):
        figure = Figure(figsize=(phone.WIDTH if narrow else width or WIDTH, height))
        yield figure, [*zip(nets, choose_colours(configs, dark), strict=True)]
        names = _find_named_lines(figure)
        right, gap, columns = (right, 0.0, 1) if narrow else _choose_gaps(figure, right)
        margins = left + right + (columns - 1) * gap
        figure.set_label(compose_caption(configs, num_seeds, seeds_note, notes))
        if width is None:
            width = phone.WIDTH if narrow else max(WIDTH, margins + MIN_PANEL_WIDTH * columns)
            figure.set_figwidth(width)
            bottom = 0.52 + write_caption(figure, dark)
            bottom += phone.names_height(names) if narrow else 0
        else:
            check_room(width, (width - margins) / columns, [name for name, _ in names])
            bottom, title, topic = 0.42, topic, ""
            height *= min(1.0, (width / WIDTH) ** 0.6)
            make_lines_thinner(figure)
        total_height = height + bottom
        figure.set_figheight(total_height)
        figure.subplots_adjust(
            left=left / width, right=1 - right / width, bottom=bottom / total_height, top=1,
            wspace=gap * columns / (width - margins),
        )  # fmt: skip
        write_title(figure, title, topic)
        if narrow:
            phone.write_names(figure.axes[-1], names)
        else:
            label_lines(figure)


def check_room(width: float, panel_width: float, names: list[str]) -> None:
    """Raise UserError if the panels of a figure for a paper are too narrow.

    width: of the figure, in inches. panel_width: in inches.
    """
    if panel_width < MIN_PANEL_WIDTH_IN_PAPER:
        raise UserError(
            f"a figure {width:g} inches wide is too narrow for names as long as "
            f"{max(names, key=len)!r}: draw fewer nets, or use a larger width"
        )


def _find_named_lines(figure: Figure) -> list[tuple[str, Line2D]]:
    """Return one line of all panels for each name."""
    lines = (line for axes in figure.axes for line in axes.get_lines())
    return [*{str(line.get_label()): line for line in lines if is_named(line)}.items()]


def _choose_gaps(figure: Figure, right: float) -> tuple[float, float, int]:
    """Return the right margin and the gap between panels in inches, and the number of columns.

    Both spaces have room for the names of lines.
    """
    gap, columns = 0.2, 1
    for axes in figure.axes:
        width = text_width([str(line.get_label()) for line in axes.get_lines() if is_named(line)])
        subplot = axes.get_subplotspec()
        if subplot is not None:
            columns = max(columns, subplot.get_gridspec().ncols)
            if width and subplot.is_last_col():
                right = max(right, 0.12 + width)
            elif width:
                gap = max(gap, 0.2 + width)
    return right, gap, columns
