"""Figures for a phone: stacked panels, each with the names of its curves below it."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from resnet_degradation.figures.labels import text_width, wrap_text
from resnet_degradation.figures.style import ensure_contrast, name_size

# Sizes in inches.
WIDTH = 3.0  # of a figure; on a screen 360 pixels wide, its smallest text is 12 pixels high
MARGIN = 0.1  # left and right of names
TICKS_HEIGHT = 0.48  # height of the ticks and the label below a panel
ROW_HEIGHT = 0.17  # height of a row of names
HANDLE_WIDTH = 0.4  # width of the line sample before a name

Names = Sequence[tuple[str, Line2D]]  # (name, line that it belongs to)


def names_height(names: Names) -> float:
    """Return the height in inches that `write_names` needs below the ticks of a panel."""
    texts, columns = _arrange_names(names)
    return ROW_HEIGHT * (sum(map(len, texts)) if columns == 1 else -(-len(texts) // columns))


def write_names(axes: Axes, names: Names) -> None:
    """Write names below the ticks of a panel, each preceded by a sample of its line.

    The panel must already have its final position.
    """
    if not names:
        return
    texts, columns = _arrange_names(names)
    panel, figure = axes.get_position(), axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    axes.legend(
        handles=[_copy_line_style(line) for _, line in names],
        labels=["\n".join(text) for text in texts],
        labelcolor=[ensure_contrast(str(line.get_color())) for _, line in names],
        loc="upper left",
        bbox_to_anchor=(
            (MARGIN / width - panel.x0) / panel.width,
            -TICKS_HEIGHT / height / panel.height,
        ),
        ncols=columns,
        fontsize=name_size(),
        handlelength=2.0,
        handletextpad=0.6,
        columnspacing=1.0,
        labelspacing=0.35,
        borderpad=0,
        borderaxespad=0,
    )


def _arrange_names(names: Names) -> tuple[list[list[str]], int]:
    """Wrap each name into lines of text; return these lists, and the number of columns."""
    available = WIDTH - 2 * MARGIN
    texts = [wrap_text(text, available - HANDLE_WIDTH) for text, _ in names]
    if not texts or max(map(len, texts)) > 1:
        return texts, 1
    return texts, max(1, int(available / (HANDLE_WIDTH + text_width([text for text, _ in names]))))


def _copy_line_style(line: Line2D) -> Line2D:
    sample = Line2D([], [])
    sample.update_from(line)
    sample.set(linewidth=2, markersize=4)
    return sample
