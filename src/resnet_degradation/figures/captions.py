"""Captions: the data, the schedule and the number of seeds behind a figure."""

import textwrap
from typing import TYPE_CHECKING

from resnet_degradation.config.durations import is_fraction
from resnet_degradation.config.identity import data_name
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.labels import SIZE, text_width
from resnet_degradation.figures.style import muted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def caption_text(
    configs: list[Config], num_seeds: list[int], of_seeds: str = " (band: one standard deviation)"
) -> str:
    """The data, the schedule and the number of seeds of these nets.

    of_seeds: how several of them are drawn.
    """
    seeds = " / ".join(map(str, sorted(set(num_seeds))))
    seeds += " seed" if set(num_seeds) == {1} else f" seeds{of_seeds}"
    return f"{conditions(configs)}; {seeds}"


def write_caption(figure: "Figure", text: str, dark: bool) -> None:
    """Write a caption below a figure, in as many lines as its width asks for."""
    room = figure.get_figwidth() - 0.2
    length = text_width([text])
    lines = textwrap.wrap(text, max(20, int(len(text) * min(1, 0.95 * room / length))))
    figure.text(0.5, 0.01, "\n".join(lines), ha="center", fontsize=SIZE, color=muted(dark))


def conditions(configs: list[Config]) -> str:
    """The data and the schedule of some runs."""
    data = _all_of({f"{data_name(c)} {c.data.image_size}x{c.data.image_size}" for c in configs})
    length = _all_of({_length(c) for c in configs})
    batch = _all_of({str(c.recipe.batch_size) for c in configs})
    return f"{data}; {length} of {batch} images; {_all_of({_rate(c) for c in configs})}"


def _all_of(values: set[str]) -> str:
    return " / ".join(sorted(values))


def _length(config: Config) -> str:
    length = config.recipe.iterations
    return f"{length:,} iterations" if isinstance(length, int) else f"{length}, in batches"


def _rate(config: Config) -> str:
    recipe = config.recipe
    rate = f"rate {recipe.lr:g}"
    if recipe.schedule == "plateau":
        return f"{rate}, times {recipe.gamma:g} on a plateau"
    if not recipe.milestones:
        return rate
    points = [
        f"{milestone:.0%}" if is_fraction(milestone) else f"{milestone}"
        for milestone in recipe.milestones
    ]
    return f"{rate}, times {recipe.gamma:g} at {' and '.join(points)}"
