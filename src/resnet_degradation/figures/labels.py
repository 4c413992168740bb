"""Names of curves, written where the curves end, as the paper does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SIZE = 7.5  # points
LINE = 1.25 * SIZE


@dataclass(frozen=True)
class Label:
    """A name, its colour, and the value of the curve at its end."""

    name: str
    colour: str
    end: float

    def text(self, top: float) -> str:
        """The name; that of a curve which ends above `top` tells where."""
        return f"{self.name}\n(ends at {self.end:.0f} %)" if self.end > top else self.name


def text_width(texts: list[str], size: float = SIZE) -> float:
    """The width in inches of the longest line of these texts; 0 if there is none."""
    from matplotlib.textpath import TextPath

    lines = [line for text in texts for line in text.splitlines()]
    widths = [float(TextPath((0, 0), line, size=size).get_extents().width) for line in lines]
    return max(widths, default=0.0) / 72


def label_ends(axes: "Axes", labels: list[Label]) -> None:
    """Write each name beside the axes where its curve ends, and none over another.

    A curve that ends above the picture is named at its top.
    """
    top = axes.get_ylim()[1]
    height = axes.get_window_extent().height * 72 / axes.figure.dpi  # points
    rising = sorted(labels, key=lambda label: label.end)
    texts = [label.text(top) for label in rising]
    places = []
    for label in rising:
        pixel = axes.transData.transform((0, max(label.end, 1e-9)))
        places.append(min(float(axes.transAxes.inverted().transform(pixel)[1]), 1.0))
    heights = [LINE / height * (1 + text.count("\n")) for text in texts]
    for place, text, label in zip(spread_out(places, heights), texts, rising, strict=True):
        axes.annotate(
            text,
            (1.012, place),
            xycoords="axes fraction",
            color=label.colour,
            fontsize=SIZE,
            va="center",
            annotation_clip=False,
        )


def spread_out(places: list[float], heights: list[float]) -> list[float]:
    """The centres of boxes of these heights, near their rising `places`, without overlap.

    Places are in shares of the axes, 0 below and 1 above; boxes stay inside as far as they fit.
    """
    centres: list[float] = []
    floor = 0.0
    for place, height in zip(places, heights, strict=True):
        centres.append(max(place, floor + height / 2))
        floor = centres[-1] + height / 2
    ceiling = max(1.02, sum(heights))
    for position in reversed(range(len(centres))):
        centres[position] = min(centres[position], ceiling - heights[position] / 2)
        ceiling = centres[position] - heights[position] / 2
    return centres
