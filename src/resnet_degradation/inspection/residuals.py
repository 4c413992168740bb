"""The size of F(x) compared with shortcut(x), block by block."""

from statistics import median

from resnet_degradation.figures.inspection import plot_residual_norms
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.residual_norms import measure_residual_norms
from resnet_degradation.records.layers import ResidualNorms


def measure(subject: Subject) -> list[ResidualNorms]:
    """The norms of F(x) and shortcut(x) of every block; none for a plain net."""
    return measure_residual_norms(subject.net, subject.images)


def summarize(nets: Nets) -> Finding:
    """Title, sentence and table: the ratio of F(x) to shortcut(x) in these nets.

    The medians are over the blocks with an identity shortcut, or over all blocks if none has one.
    """
    table, medians, measured = [], [], []
    for net in nets:
        blocks = [row for rows in net.seeds for row in rows]
        ratios = [row.ratio for row in blocks if row.is_identity]
        others = [row.ratio for row in blocks if not row.is_identity]
        cells = [net.name, *(f"{f(ratios):.2f}" if ratios else "-" for f in (median, min, max))]
        cells.append(f"{sum(ratio < 1 for ratio in ratios)}/{len(ratios)}")
        table.append([*cells, f"{median(others):.2f}" if others else "-"])
        # With option C every shortcut is a projection; a custom block may change x, too.
        hint = "" if ratios else " (no identity shortcuts)"
        per_seed = [
            median(row.ratio for row in rows if row.is_identity or not ratios) for rows in net.seeds
        ]
        value = median(ratios or others)
        measured.append(Measured(net.name, net.config, value, per_seed))
        medians.append(f"{value:.2f} in {net.name}{hint}")
    return Finding(
        title_of("Size of F(x) relative to x (median block)", measured, "{:.2f}".format),
        "||F(x)|| / ||shortcut(x)||, median over blocks with an identity shortcut: "
        f"{', '.join(medians)}.",
        ["net", "median", "smallest", "largest", "F < x", "median, other shortcuts"],
        table,
    )


ABOUT = (
    "||F(x)|| / ||shortcut(x)|| (Euclidean norms), computed per image, then averaged over images; "
    "shortcut(x) is x except for hollow dots, where the shortcut changes x (projection or "
    "downsampling). Plain nets have no shortcut."
)

PROBE = Probe(
    ResidualNorms, measure, summarize, plot_residual_norms, needs_branch=True, about=ABOUT
)
