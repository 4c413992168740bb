"""The loss surface around a net, along filter-normalized random directions (Li et al. 2018)."""

import math
from collections.abc import Sequence
from itertools import product
from statistics import mean

from resnet_degradation.figures.surface import NEAR, plot_surface
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.inspection.surface_workers import surface_batches, surface_in_parallel
from resnet_degradation.probes.surface import SurfacePoint, surface
from resnet_degradation.records.layers import open_unfinished_inspection

# How far the plane extends from the net along each direction. At 1, the added random weights have
# the norm of the net's weights.
EXTENT = 0.5


def measure(subject: Subject) -> list[SurfacePoint]:
    """The loss and the error at options.points x options.points points of the plane.

    They are measured on at least options.images augmented training images, in whole batches.
    An interrupted measurement resumes: its points are kept in inspection/surface.part.csv.
    """
    options = subject.options
    axis = [EXTENT * (2 * i / (options.points - 1) - 1) for i in range(options.points)]
    points = list(product(axis, axis))
    key = f"{subject.trained.iteration} {options.images} {options.points}"
    part = open_unfinished_inspection(subject.trained.folder, "surface", SurfacePoint, key)
    left = points[len(part.rows) :]
    if options.jobs > 1:
        measured = surface_in_parallel(subject, left)
    else:
        measured = surface(subject.net, surface_batches(subject), left)
    for point in measured:
        part.add(point)
        subject.report("loss surface", len(part.rows), len(points))
    return part.rows


def summarize(nets: Nets) -> Finding:
    """Title, sentence and table: how much of the plane has almost the error of each net."""
    table, texts, measured = [], [], []
    for net in nets:
        shares = [share_near(rows) for rows in net.seeds]
        measured.append(Measured(net.name, net.config, mean(shares), shares))
        centre = mean(centre_of(rows).error for rows in net.seeds)
        losses = [max(row.loss for row in rows) for rows in net.seeds]
        over = f" ({min(shares):.0f} - {max(shares):.0f} % over seeds)" if len(shares) > 1 else ""
        texts.append(f"{net.name} {mean(shares):.0f} %{over}")
        cells = [f"{centre:.2f}", f"{mean(shares):.1f}", f"{mean(losses):.3g}"]
        table.append([net.name, *cells])
    note = "" if any(len(net.seeds) > 1 for net in nets) else " One seed of each net."
    return Finding(
        title_of(
            f"Share of a random plane with at most {NEAR:g} points more training error",
            measured,
            "{:.0f} %".format,
        ),
        "Share of a random plane through the trained net (filter-normalized directions) on which "
        f"its training error rises by at most {NEAR:g} points: {', '.join(texts)}.{note}",
        ["net", "error at centre (%)", "share (%)", "highest loss"],
        table,
    )


def centre_of(points: Sequence[SurfacePoint]) -> SurfacePoint:
    """The point of the trained net itself, or the one closest to it."""
    return min(points, key=lambda point: math.hypot(point.first, point.second))


def share_near(points: Sequence[SurfacePoint]) -> float:
    """The percentage of points with an error at most NEAR above the centre's."""
    limit = centre_of(points).error + NEAR
    return 100 * sum(point.error <= limit for point in points) / len(points)


ABOUT = (
    "The training loss at the trained weights plus multiples of two random directions. "
    "Each filter of a direction has the norm of the net's filter; biases and batch "
    "normalization are not changed; the net is in evaluation mode (Li et al. 2018)."
)

PROBE = Probe(SurfacePoint, measure, summarize, plot_surface, about=ABOUT)
