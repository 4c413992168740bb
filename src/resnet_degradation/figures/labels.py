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


def label_width(names: list[str]) -> float:
    """The width in inches of the longest of these names."""
    from matplotlib.textpath import TextPath

    widths = [
        TextPath((0, 0), line, size=SIZE).get_extents().width
        for name in names
        for line in name.splitlines()
    ]
    return float(max(widths)) / 72


def label_ends(axes: "Axes", labels: list[Label]) -> None:
    """Write each name beside the axes where its curve ends, and none over another.

    A curve that ends above the picture is named at its top, with the error that it ends at.
    """
    height = axes.get_window_extent().height * 72 / axes.figure.dpi  # points
    placed = []
    for label in labels:
        pixel = axes.transData.transform((0, max(label.end, 1e-9)))
        place = float(axes.transAxes.inverted().transform(pixel)[1])
        name = f"{label.name}\n(ends at {label.end:.0f} %)" if place > 1 else label.name
        placed.append((min(place, 1.0), name, label.colour))
    placed.sort()
    heights = [LINE / height * (1 + name.count("\n")) for _, name, _ in placed]
    for put, (_, name, colour) in zip(
        spread_out([place for place, _, _ in placed], heights), placed, strict=True
    ):
        axes.annotate(
            name,
            (1.012, put),
            xycoords="axes fraction",
            color=colour,
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
