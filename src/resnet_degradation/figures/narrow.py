"""Figures for a phone: panels are stacked, and names of lines are in rows below the panels."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from resnet_degradation.figures.labels import text_width, wrapped
from resnet_degradation.figures.style import legible, name_size

# In inches. WIDTH: of a figure; its smallest text has 12 pixels on a page 360 pixels wide.
# MARGIN: beside names. TICKS: the height of a panel's ticks. ROW: the height of a row of names.
# HANDLE: the width of the line sample before a name.
WIDTH, MARGIN, TICKS, ROW, HANDLE = 3.0, 0.1, 0.48, 0.17, 0.4

Names = Sequence[tuple[str, Line2D]]  # names of lines, each with a line that looks the same


def names_height(names: Names) -> float:
    """The inches that `write_names` needs below the ticks of a panel."""
    texts, columns = _arranged(names)
    return ROW * (sum(map(len, texts)) if columns == 1 else -(-len(texts) // columns))


def write_names(axes: Axes, names: Names) -> None:
    """Write names below the ticks of a panel, each after a sample of its line.

    The panel must be at its final position.
    """
    if not names:
        return
    texts, columns = _arranged(names)
    place, figure = axes.get_position(), axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    axes.legend(
        handles=[_sample(line) for _, line in names],
        labels=["\n".join(text) for text in texts],
        labelcolor=[legible(str(line.get_color())) for _, line in names],
        loc="upper left",
        bbox_to_anchor=((MARGIN / width - place.x0) / place.width, -TICKS / height / place.height),
        ncols=columns,
        fontsize=name_size(),
        handlelength=2.0,
        handletextpad=0.6,
        columnspacing=1.0,
        labelspacing=0.35,
        borderpad=0,
        borderaxespad=0,
    )


def _arranged(names: Names) -> tuple[list[list[str]], int]:
    """The text of each name, in lines, and the number of columns."""
    room = WIDTH - 2 * MARGIN
    texts = [wrapped(text, room - HANDLE) for text, _ in names]
    if not texts or max(map(len, texts)) > 1:
        return texts, 1
    return texts, max(1, int(room / (HANDLE + text_width([text for text, _ in names]))))


def _sample(line: Line2D) -> Line2D:
    sample = Line2D([], [])
    sample.update_from(line)
    sample.set(linewidth=2, markersize=4)
    return sample
