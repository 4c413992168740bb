"""Lesions: the error of a net after some of its blocks are removed."""

from collections.abc import Sequence
from statistics import mean, median

import torch

from resnet_degradation.data.dataset import evenly_spaced_indices
from resnet_degradation.figures.inspection import plot_lesions
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.lesions import (
    draw_random_blocks,
    measure_without_blocks,
    removable_blocks,
    shape_preserving_blocks,
)
from resnet_degradation.records.layers import LesionRow

QUANTITY = "Removing one block changes the error by (median over blocks)"


def measure(subject: Subject) -> list[LesionRow]:
    """Measure the held-out error in percent: with all blocks, without one, without random ones."""
    net, held_out, options = subject.net, subject.held_out, subject.options

    @torch.no_grad()
    def measure_error() -> float:
        wrong = [(net(images).argmax(dim=1) != labels).sum() for images, labels in held_out]
        return 100 * int(torch.stack(wrong).sum()) / sum(len(labels) for _, labels in held_out)

    positions = {name: number for number, name in enumerate(net.blocks(), 1)}
    candidates = removable_blocks(net)
    indices = evenly_spaced_indices(len(candidates), options.max_blocks).tolist()
    single_blocks = [candidates[i] for i in indices]
    max_count = len(shape_preserving_blocks(net))
    counts = [2**power for power in range(9) if 2**power <= max_count]
    num_steps = len(single_blocks) + len(counts)
    rows = [LesionRow(0, 0, len(positions), "", measure_error())]
    for step, name in enumerate(single_blocks, 1):
        row = (1, positions[name], len(positions), name)
        rows.append(LesionRow(*row, measure_without_blocks(net, [name], measure_error)))
        subject.report("lesions", step, num_steps)
    for step, count in enumerate(counts, len(single_blocks) + 1):
        for names in draw_random_blocks(net, count, options.draws, subject.trained.config.seed):
            row = (count, 0, len(positions), " ".join(names))
            rows.append(LesionRow(*row, measure_without_blocks(net, names, measure_error)))
        subject.report("lesions", step, num_steps)
    return rows


def make_finding(nets: Nets) -> Finding:
    """Summarize how much the removal of one block changes the error of these nets."""
    table, medians, measured = [], [], []
    for net in nets:
        lesions = [row for rows in net.seeds for row in rows]
        error = mean(row.error for row in lesions if row.count == 0)
        single_lesions = [row for row in lesions if row.position > 0]
        change = median(row.error - error for row in single_lesions)
        per_seed = [_median_change(rows) for rows in net.seeds]
        measured.append(NetMeasurement(net.name, net.config, change, per_seed))
        worst = max(single_lesions, key=lambda row: row.error)
        cells = [net.name, f"{error:.2f}", f"{change:+.2f}"]
        table.append([*cells, f"{worst.error - error:+.2f} ({worst.blocks})"])
        medians.append(f"{change:+.1f} points in {net.name}")
    return Finding(
        compose_title(QUANTITY, measured, _format_change, " points"),
        f"Held-out error without one block, median over blocks: {', '.join(medians)}.",
        ["net", "error (%)", "median change", "largest change"],
        table,
    )


def _format_change(change: float) -> str:
    return f"{change:+.1f}" if abs(change) < 10 else f"{change:+.0f}"


def _median_change(rows: Sequence[LesionRow]) -> float:
    """The median change in error (points) after the removal of one block, for one seed."""
    error = mean(row.error for row in rows if row.count == 0)
    return median(row.error - error for row in rows if row.position > 0)


DEFINITION = (
    "The held-out error after a block is removed. A residual block keeps its shortcut; a plain "
    "block is skipped, so that its input goes to the next block (Veit et al. 2016). "
    "Plain blocks that change the shape cannot be removed."
)

PROBE = Probe(LesionRow, measure, make_finding, plot_lesions, needs_branch=True, about=DEFINITION)
