"""Residuals: the size of F(x) compared with shortcut(x) in each block."""

from statistics import median

from resnet_degradation.figures.inspection import plot_residual_norms
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.residual_norms import measure_residual_norms
from resnet_degradation.records.layers import ResidualNorms


def measure(subject: Subject) -> list[ResidualNorms]:
    """Measure the norms of F(x) and shortcut(x) of each block. A plain net has no rows."""
    return measure_residual_norms(subject.net, subject.images)


def make_finding(nets: Nets) -> Finding:
    """Summarize the ratio of F(x) to shortcut(x) in these nets.

    Medians are over the blocks with an identity shortcut, or over all blocks if there are none.
    """
    table, medians, measured = [], [], []
    for net in nets:
        blocks = [row for rows in net.seeds for row in rows]
        ratios = [row.ratio for row in blocks if row.is_identity]
        other_ratios = [row.ratio for row in blocks if not row.is_identity]
        cells = [net.name, *(f"{f(ratios):.2f}" if ratios else "-" for f in (median, min, max))]
        cells.append(f"{sum(ratio < 1 for ratio in ratios)}/{len(ratios)}")
        table.append([*cells, f"{median(other_ratios):.2f}" if other_ratios else "-"])
        # With option C, all shortcuts are projections. A custom block may also change x.
        hint = "" if ratios else " (no identity shortcuts)"
        per_seed = [
            median(row.ratio for row in rows if row.is_identity or not ratios) for rows in net.seeds
        ]
        value = median(ratios or other_ratios)
        measured.append(NetMeasurement(net.name, net.config, value, per_seed))
        medians.append(f"{value:.2f} in {net.name}{hint}")
    return Finding(
        compose_title("Size of F(x) relative to x (median block)", measured, "{:.2f}".format),
        "||F(x)|| / ||shortcut(x)||, median over blocks with an identity shortcut: "
        f"{', '.join(medians)}.",
        ["net", "median", "smallest", "largest", "F < x", "median, other shortcuts"],
        table,
    )


DEFINITION = (
    "||F(x)|| / ||shortcut(x)|| (Euclidean norms), computed per image, then averaged over images. "
    "In blocks with hollow dots, the shortcut changes x (projection or downsampling); in all "
    "others, shortcut(x) is x. Plain nets have no shortcuts."
)

PROBE = Probe(
    ResidualNorms, measure, make_finding, plot_residual_norms, needs_branch=True, about=DEFINITION
)
