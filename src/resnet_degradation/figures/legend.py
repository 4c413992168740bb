"""A title and a legend above a figure, with as much room as the names of its lines ask for."""

import math
from typing import TYPE_CHECKING

from resnet_degradation.figures.labels import text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Inches: of a line's sample and the space around it, of a row, of the title, above and below.
SAMPLE, ROW, TITLE, EDGE = 0.55, 0.19, 0.28, 0.06
FONT_SIZE = 9.0  # points; see style.rc


def head(figure: "Figure", title: str) -> None:
    """Write the title and a legend of all named lines above the panels, and make room for them.

    The figure becomes taller for it: its panels keep the size that they have.
    """
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    named = {name: line for name, line in lines.items() if not name.startswith("_")}
    width, height = figure.get_size_inches()
    column = text_width([*named], FONT_SIZE) + SAMPLE
    columns = max(1, min(len(named), int((width - 0.2) / column)))
    rows = math.ceil(len(named) / columns)
    above = EDGE + (TITLE if title else 0)
    room = above + ROW * rows + 2 * EDGE
    parts = figure.subplotpars
    # Panel titles lie above the panels.
    if any(axes.get_title() for axes in figure.axes):
        room += 0.2
    new = height + room - (1 - parts.top) * height
    figure.set_size_inches(width, new)
    figure.subplots_adjust(top=1 - room / new, bottom=parts.bottom * height / new)
    if title:
        figure.suptitle(title, y=1 - EDGE / new)
    figure.legend(
        handles=[*named.values()],
        ncols=columns,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - above / new),
        borderaxespad=0,
    )
