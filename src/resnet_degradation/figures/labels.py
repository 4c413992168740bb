"""The text in figures: names of curves, titles and captions."""

import math
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from resnet_degradation.config.durations import is_fraction
from resnet_degradation.config.identity import data_name
from resnet_degradation.config.schema import Config, RecipeConfig
from resnet_degradation.figures.style import ensure_contrast, muted_colour, name_size

LINE_SPACING = 1.25
TITLE_SIZE = 10.0  # points

# In inches: the heights of the topic and of a line of the title, and the space above and below.
TOPIC_HEIGHT, TITLE_LINE_HEIGHT, MARGIN = 0.18, 0.19, 0.06


@dataclass(frozen=True)
class Label:
    """A curve's name, its colour, and the curve's last value."""

    name: str
    colour: str
    end: float

    def format(self, top: float) -> str:
        """Return the name, followed by the last value if it is above the top of the axes."""
        return f"{self.name}\n(ends at {self.end:.0f} %)" if self.end > top else self.name


def text_width(texts: list[str], size: float | None = None) -> float:
    """Return the width in inches of the longest line in these texts; 0 without texts.

    size: font size in points; by default that of names.
    """
    size = size or name_size()
    lines = [line for text in texts for line in text.splitlines()]
    return max((_line_width(line, size) for line in lines), default=0.0) / 72


@cache  # every layout of a figure measures the same lines
def _line_width(line: str, size: float) -> float:
    return float(TextPath((0, 0), line, size=size).get_extents().width)


def label_ends(axes: Axes, labels: list[Label]) -> None:
    """Write names right of the axes, near the ends of their curves, without overlap.

    If a curve ends above the axes, its name is at the top.
    """
    top = axes.get_ylim()[1]
    height = axes.get_window_extent().height * 72 / axes.figure.dpi  # points
    labels = sorted(labels, key=lambda label: label.end)
    texts = [label.format(top) for label in labels]
    ends = []
    for label in labels:
        pixel = axes.transData.transform((0, max(label.end, 1e-9)))
        ends.append(min(float(axes.transAxes.inverted().transform(pixel)[1]), 1.0))
    line_height = LINE_SPACING * name_size() / height
    heights = [line_height * (1 + text.count("\n")) for text in texts]
    for y, text, label in zip(separate_boxes(ends, heights), texts, labels, strict=True):
        axes.annotate(
            text,
            (1.012, y),
            xycoords="axes fraction",
            color=ensure_contrast(label.colour),
            fontsize=name_size(),
            va="center",
            annotation_clip=False,
        )


def label_lines(figure: Figure) -> None:
    """Write the name of each line right of its panel, at the height where the line ends."""
    for axes in figure.axes:
        labels = []
        for line in axes.get_lines():
            values = np.asarray(line.get_ydata(), dtype=float)
            values = values[np.isfinite(values)]
            if len(values) and is_named(line):
                label = Label(str(line.get_label()), str(line.get_color()), float(values[-1]))
                labels.append(label)
        label_ends(axes, labels)


def is_named(line: Line2D) -> bool:
    """Return whether a line has a name to show."""
    return not str(line.get_label()).startswith("_")


def separate_boxes(centres: list[float], heights: list[float]) -> list[float]:
    """Move the centres of boxes until no two boxes overlap, as little as possible.

    Boxes that would overlap form a group, which is centred on their preferred positions.

    centres: preferred centres, in ascending order, as fractions of the axes' height (0 is the
    bottom). heights: in the same unit. The boxes stay inside the axes if they fit.
    """
    *starts, total = accumulate(heights, initial=0.0)  # bottoms of boxes stacked on each other
    groups: list[list[float]] = []  # of touching boxes: how far each one wants to be from the stack
    for centre, height, start in zip(centres, heights, starts, strict=True):
        groups.append([centre - height / 2 - start])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            upper = groups.pop()
            groups[-1] += upper
    room = max(1.02 - total, 0.0)
    shifts = [min(max(fmean(group), 0.0), room) for group in groups for _ in group]
    return [
        shift + start + height / 2
        for shift, start, height in zip(shifts, starts, heights, strict=True)
    ]


def write_title(figure: Figure, title: str, topic: str = "") -> None:
    """Write the title above the panels, and the topic above it in a smaller font.

    A title of several lines is broken after its colons. The figure becomes taller; the panels keep
    their size.
    """
    width, height = figure.get_size_inches()
    lines = wrap_text(title, width - 0.2, TITLE_SIZE)
    if len(lines) > 1:
        parts = re.split("(?<=:) ", title)
        lines = [line for part in parts for line in wrap_text(part, width - 0.2, TITLE_SIZE)]
    title_offset = MARGIN + (TOPIC_HEIGHT if topic else 0)
    needed = title_offset
    if title or topic:
        needed += TITLE_LINE_HEIGHT * len(lines) + 2 * MARGIN
    if any(axes.get_title() for axes in figure.axes):
        needed += 0.2
    margins = figure.subplotpars
    new_height = height * margins.top + needed
    figure.set_size_inches(width, new_height)
    figure.subplots_adjust(top=1 - needed / new_height, bottom=margins.bottom * height / new_height)
    if topic:
        figure.text(
            0.5, 1 - MARGIN / new_height, topic, ha="center", va="top", fontsize=name_size()
        )
    if title:
        y = 1 - title_offset / new_height
        figure.suptitle("\n".join(lines), y=y, size=TITLE_SIZE, weight="bold", linespacing=1.15)


def wrap_text(text: str, inches: float, size: float | None = None) -> list[str]:
    """Break the text into lines of about equal length, at most `inches` wide.

    No line begins with a number. size: font size in points.
    """
    total_width = 1.15 * text_width([text], size)  # bold letters are wider
    text = re.sub(r" (?=[+-]?\d|%|→)", "\u00a0", text)
    for num_lines in range(max(1, math.ceil(total_width / inches)), len(text) + 1):
        limit = max(20, math.ceil(len(text) / num_lines))
        while len(lines := textwrap.wrap(text, limit, break_on_hyphens=False)) > num_lines:
            limit += 1
        if limit == 20 or 1.15 * text_width(lines, size) <= inches:
            break
    return [line.replace("\u00a0", " ") for line in lines] if text else []


def compose_caption(
    configs: list[Config],
    num_seeds: list[int],
    seeds_note: str = "band: one standard deviation",
    notes: list[str] | None = None,
) -> str:
    """Describe the conditions of these nets and their numbers of seeds; append the notes.

    seeds_note: how several seeds are drawn.
    """
    fewest, most = min(num_seeds), max(num_seeds)
    seeds = f"{most} seed{'s' * (most > 1)}"
    if fewest < most:
        seeds = f"{fewest} to {seeds} per net"
    if most > 1:
        seeds += f" ({seeds_note})"
    return "; ".join([describe_conditions(configs), seeds, *(notes or [])])


def write_caption(figure: Figure, dark: bool) -> float:
    """Write a figure's label below the panels as a caption; return its height in inches."""
    text = re.sub(r"(\d) (seeds?\b)", "\\1\u00a0\\2", str(figure.get_label()))
    lines = wrap_text(text, figure.get_figwidth() - 0.2)
    style: dict[str, Any] = {"ha": "center", "fontsize": name_size(), "color": muted_colour(dark)}
    figure.text(0.5, 0.01, "\n".join(lines), **style)
    return len(lines) * LINE_SPACING * name_size() / 72


def describe_conditions(configs: list[Config]) -> str:
    """Describe the data, the schedule and (unless it is fp32) the precision of runs."""
    data, length, batch, schedule, precision = (
        _join_distinct(values) for values in zip(*map(_describe_run, configs), strict=True)
    )
    text = f"{data}; {length} of {batch} images; {schedule}"
    warm_ups = [config.recipe for config in configs if _has_warm_up(config.recipe)]
    if warm_ups:
        rates = _join_distinct(tuple(f"{recipe.warmup_lr:g}" for recipe in warm_ups))
        some = "" if len(warm_ups) == len(configs) else " for some nets"
        text += f", after a warm-up at {rates}{some}"
    return text if precision == "fp32" else f"{text}; {precision}"


def _has_warm_up(recipe: RecipeConfig) -> bool:
    return recipe.warmup == "always" and recipe.warmup_lr < recipe.lr


def _join_distinct(values: tuple[str, ...]) -> str:
    """Join the distinct values; of more than three, only the first and the last."""
    distinct = list(dict.fromkeys(values))
    return " / ".join(distinct if len(distinct) < 4 else [distinct[0], "...", distinct[-1]])


def _describe_run(config: Config) -> tuple[str, str, str, str, str]:
    """Return the data, length, batch size, schedule and precision of a run."""
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
        config.runtime.precision,
    )
