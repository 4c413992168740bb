"""The text of figures: names of curves, headers and captions."""

import math
import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from resnet_degradation.config.durations import is_fraction
from resnet_degradation.config.identity import data_name
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.style import muted

FONT_SIZE = 7.5  # points, of captions and of names where curves end
LINE_HEIGHT = 1.25 * FONT_SIZE
LEGEND_FONT_SIZE = 9.0  # points; font.size in style.rc

# Inches, in a legend: a line's sample with the space around it, the height of a row, the height of
# the figure's title, the margin above and below.
SAMPLE, ROW, TITLE, MARGIN = 0.55, 0.19, 0.28, 0.06


@dataclass(frozen=True)
class Label:
    """A name, its colour, and the value of the curve at its end."""

    name: str
    colour: str
    end: float

    def text(self, top: float) -> str:
        """The name, with the end value if the curve ends above the top of the axes."""
        return f"{self.name}\n(ends at {self.end:.0f} %)" if self.end > top else self.name


def text_width(texts: list[str], size: float = FONT_SIZE) -> float:
    """The width in inches of the longest line of these texts; 0 if there is none."""
    lines = [line for text in texts for line in text.splitlines()]
    widths = [float(TextPath((0, 0), line, size=size).get_extents().width) for line in lines]
    return max(widths, default=0.0) / 72


def label_ends(axes: Axes, labels: list[Label]) -> None:
    """Write each name beside the axes, near the end of its curve, without overlap.

    A curve that ends above the axes is named at their top.
    """
    top = axes.get_ylim()[1]
    height = axes.get_window_extent().height * 72 / axes.figure.dpi  # points
    labels = sorted(labels, key=lambda label: label.end)
    texts = [label.text(top) for label in labels]
    ends = []
    for label in labels:
        pixel = axes.transData.transform((0, max(label.end, 1e-9)))
        ends.append(min(float(axes.transAxes.inverted().transform(pixel)[1]), 1.0))
    heights = [LINE_HEIGHT / height * (1 + text.count("\n")) for text in texts]
    for y, text, label in zip(spread_out(ends, heights), texts, labels, strict=True):
        axes.annotate(
            text,
            (1.012, y),
            xycoords="axes fraction",
            color=label.colour,
            fontsize=FONT_SIZE,
            va="center",
            annotation_clip=False,
        )


def spread_out(centres: list[float], heights: list[float]) -> list[float]:
    """The centres of boxes, moved until no two boxes overlap.

    centres: the preferred ones, ascending, as fractions of the axes' height (0 is the bottom).
    heights: in the same unit. The boxes stay inside the axes as far as they fit.
    """
    moved: list[float] = []
    floor = 0.0
    for centre, height in zip(centres, heights, strict=True):
        moved.append(max(centre, floor + height / 2))
        floor = moved[-1] + height / 2
    ceiling = max(1.02, sum(heights))
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling - heights[i] / 2)
        ceiling = moved[i] - heights[i] / 2
    return moved


def draw_legend_above(figure: Figure, title: str) -> None:
    """Write the title and a legend of all named lines above the panels.

    The figure becomes taller for it; its panels keep their size.
    """
    lines = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    named = {name: line for name, line in lines.items() if not name.startswith("_")}
    width, height = figure.get_size_inches()
    column = text_width([*named], LEGEND_FONT_SIZE) + SAMPLE
    columns = max(1, min(len(named), int((width - 0.2) / column)))
    above = MARGIN + (TITLE if title else 0)
    needed = above + ROW * math.ceil(len(named) / columns) + 2 * MARGIN
    if any(axes.get_title() for axes in figure.axes):
        needed += 0.2
    parts = figure.subplotpars
    new_height = height * parts.top + needed
    figure.set_size_inches(width, new_height)
    figure.subplots_adjust(top=1 - needed / new_height, bottom=parts.bottom * height / new_height)
    if title:
        figure.suptitle(title, y=1 - MARGIN / new_height)
    figure.legend(
        handles=[*named.values()],
        ncols=columns,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - above / new_height),
        borderaxespad=0,
    )


def write_caption(
    figure: Figure,
    configs: list[Config],
    num_seeds: list[int],
    dark: bool,
    drawn_as: str = "band: one standard deviation",
    notes: list[str] | None = None,
) -> None:
    """Write the conditions of these nets, their numbers of seeds and notes below a figure.

    drawn_as: how several seeds are drawn.
    """
    seeds = " / ".join(map(str, sorted(set(num_seeds))))
    seeds += " seed" if set(num_seeds) == {1} else f" seeds ({drawn_as})"
    text = "; ".join([conditions(configs), seeds, *(notes or [])])
    inches = figure.get_figwidth() - 0.2
    max_chars = max(20, int(len(text) * min(1, 0.95 * inches / text_width([text]))))
    lines = "\n".join(textwrap.wrap(text, max_chars))
    figure.text(0.5, 0.01, lines, ha="center", fontsize=FONT_SIZE, color=muted(dark))


def conditions(configs: list[Config]) -> str:
    """The data and the schedule of some runs."""
    data, length, batch, schedule = (
        " / ".join(sorted(set(values))) for values in zip(*map(_conditions, configs), strict=True)
    )
    return f"{data}; {length} of {batch} images; {schedule}"


def _conditions(config: Config) -> tuple[str, str, str, str]:
    recipe, size = config.recipe, config.data.image_size
    length = recipe.iterations
    schedule = f"learning rate {recipe.lr:g}"
    if recipe.schedule == "plateau":
        schedule += f", times {recipe.gamma:g} on a plateau"
    elif recipe.milestones:
        points = [f"{m:.0%}" if is_fraction(m) else f"{m}" for m in recipe.milestones]
        schedule += f", times {recipe.gamma:g} at {' and '.join(points)}"
    return (
        f"{data_name(config)} {size}x{size}",
        f"{length:,} iterations" if isinstance(length, int) else f"{length}, in batches",
        str(recipe.batch_size),
        schedule,
    )
