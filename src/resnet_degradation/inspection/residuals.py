"""The size of F(x) compared with x, block by block."""

from statistics import median

from resnet_degradation.figures.inspection import plot_residual_norms
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.residual_norms import residual_norms
from resnet_degradation.records.layers import ResidualNorms


def measure(subject: Subject) -> list[ResidualNorms]:
    """The norms of both terms of every block; none for a plain net."""
    return residual_norms(subject.net, subject.images)


def find(nets: Nets) -> Finding:
    rows, medians, measured = [], [], []
    for net in nets:
        blocks = [row for seed in net.seeds for row in seed]
        ratios = [row.ratio for row in blocks if row.is_identity]
        others = [row.ratio for row in blocks if not row.is_identity]
        row = [net.name, *(f"{f(ratios):.2f}" if ratios else "-" for f in (median, min, max))]
        row.append(f"{sum(ratio < 1 for ratio in ratios)}/{len(ratios)}")
        rows.append([*row, f"{median(others):.2f}" if others else "-"])
        # With option C every shortcut is a projection.
        hint = "" if ratios else " (no identity)"
        seeds = [[r.ratio for r in s if r.is_identity or not ratios] for s in net.seeds]
        value, own = median(ratios or others), [median(seed) for seed in seeds]
        measured.append(Measured(net.name, net.config, value, own))
        medians.append(f"{value:.2f} in {net.name}{hint}")
    return Finding(
        title_of("Size of F(x) relative to x (median block)", measured, "{:.2f}".format),
        "Norm of the residual branch divided by that of the identity shortcut, median over blocks: "
        f"{', '.join(medians)}.",
        ["net", "median", "smallest", "largest", "F < x", "median, no identity"],
        rows,
    )


ABOUT = (
    "The Euclidean norm of F(x) divided by that of x, for every image and averaged; "
    "hollow dots are blocks whose shortcut changes x. Plain nets have no shortcut."
)

PROBE = Probe(ResidualNorms, measure, find, plot_residual_norms, needs_branch=True, about=ABOUT)
