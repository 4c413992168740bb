"""Captions: the data, the schedule and the number of seeds behind a figure."""

import textwrap

from matplotlib.figure import Figure

from resnet_degradation.config.durations import is_fraction
from resnet_degradation.config.identity import data_name
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.labels import FONT_SIZE, text_width
from resnet_degradation.figures.style import muted


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
    columns = max(20, int(len(text) * min(1, 0.95 * inches / text_width([text]))))
    lines = "\n".join(textwrap.wrap(text, columns))
    figure.text(0.5, 0.01, lines, ha="center", fontsize=FONT_SIZE, color=muted(dark))


def conditions(configs: list[Config]) -> str:
    """The data and the schedule of some runs."""
    data = _join({f"{data_name(c)} {c.data.image_size}x{c.data.image_size}" for c in configs})
    length = _join({_format_length(c.recipe.iterations) for c in configs})
    batch = _join({str(c.recipe.batch_size) for c in configs})
    return f"{data}; {length} of {batch} images; {_join({_format_schedule(c) for c in configs})}"


def _join(values: set[str]) -> str:
    return " / ".join(sorted(values))


def _format_length(length: int | float | str) -> str:
    return f"{length:,} iterations" if isinstance(length, int) else f"{length}, in batches"


def _format_schedule(config: Config) -> str:
    recipe = config.recipe
    if recipe.schedule == "plateau":
        return f"rate {recipe.lr:g}, times {recipe.gamma:g} on a plateau"
    points = [f"{m:.0%}" if is_fraction(m) else f"{m}" for m in recipe.milestones]
    steps = f", times {recipe.gamma:g} at {' and '.join(points)}" if points else ""
    return f"rate {recipe.lr:g}{steps}"
