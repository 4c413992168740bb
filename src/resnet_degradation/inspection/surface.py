"""The loss surface around a net, along filter-normalized random directions (Li et al. 2018)."""

import math
from collections.abc import Sequence
from itertools import product
from statistics import mean

from resnet_degradation.figures.surface import ERROR_MARGIN, plot_surface
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.inspection.surface_workers import measure_in_parallel, surface_batches
from resnet_degradation.probes.surface import SurfacePoint, measure_surface
from resnet_degradation.records.layers import open_unfinished_inspection

# How far the plane extends from the net along each direction. At a distance of 1, the added random
# weights have the same norm as the net's weights.
EXTENT = 0.5


def measure(subject: Subject) -> list[SurfacePoint]:
    """Measure the loss and the error at options.points x options.points points of the plane.

    The measurement uses whole batches with at least options.images augmented training images. If it
    is interrupted, it resumes from the points in inspection/surface.part.csv.
    """
    options = subject.options
    axis = [EXTENT * (2 * i / (options.points - 1) - 1) for i in range(options.points)]
    points = list(product(axis, axis))
    key = f"{subject.trained.iteration} {options.images} {options.points}"
    partial_table = open_unfinished_inspection(subject.trained.folder, "surface", SurfacePoint, key)
    remaining = points[len(partial_table.rows) :]
    if options.jobs > 1:
        measured = measure_in_parallel(subject, remaining)
    else:
        measured = measure_surface(subject.net, surface_batches(subject), remaining)
    for point in measured:
        partial_table.add(point)
        subject.report("loss surface", len(partial_table.rows), len(points))
    return partial_table.rows


def make_finding(nets: Nets) -> Finding:
    """Summarize how much of the plane has almost the same error as each net."""
    table, phrases, measured = [], [], []
    for net in nets:
        shares = [share_near_centre(rows) for rows in net.seeds]
        measured.append(NetMeasurement(net.name, net.config, mean(shares), shares))
        centre_error = mean(find_centre(rows).error for rows in net.seeds)
        max_losses = [max(row.loss for row in rows) for rows in net.seeds]
        span = f" ({min(shares):.0f} - {max(shares):.0f} % over seeds)" if len(shares) > 1 else ""
        phrases.append(f"{net.name} {mean(shares):.0f} %{span}")
        cells = [f"{centre_error:.2f}", f"{mean(shares):.1f}", f"{mean(max_losses):.3g}"]
        table.append([net.name, *cells])
    note = "" if any(len(net.seeds) > 1 for net in nets) else " One seed of each net."
    return Finding(
        compose_title(
            f"Share of a random plane with at most {ERROR_MARGIN:g} points more training error",
            measured,
            "{:.0f} %".format,
        ),
        "Share of a random plane through the trained net (filter-normalized directions) on which "
        f"its training error rises by at most {ERROR_MARGIN:g} points: {', '.join(phrases)}.{note}",
        ["net", "error at centre (%)", "share (%)", "highest loss"],
        table,
    )


def find_centre(points: Sequence[SurfacePoint]) -> SurfacePoint:
    """Find the point of the trained net itself, or the point closest to it."""
    return min(points, key=lambda point: math.hypot(point.first, point.second))


def share_near_centre(points: Sequence[SurfacePoint]) -> float:
    """The percentage of points with an error at most ERROR_MARGIN above the centre's."""
    limit = find_centre(points).error + ERROR_MARGIN
    return 100 * sum(point.error <= limit for point in points) / len(points)


DEFINITION = (
    "The training loss at the trained weights plus multiples of two random directions. "
    "Each filter of a direction has the same norm as the net's filter. Biases and batch "
    "normalization do not change, and the net is in evaluation mode (Li et al. 2018)."
)

PROBE = Probe(SurfacePoint, measure, make_finding, plot_surface, about=DEFINITION)
