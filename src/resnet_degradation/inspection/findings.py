"""A sentence and a table for each measurement, computed from the tables in run folders."""

import math
from dataclasses import dataclass
from statistics import mean, median

import numpy as np

from resnet_degradation.figures.inspection import rows_at
from resnet_degradation.figures.seeds import NetRows

# A gradient vanishes, or explodes, if it is this many times smaller, or larger, than that of the
# last convolution.
FAR_OFF = 1000.0

# What to report of a net with this `gradient_outcome`.
PHRASES = {
    "dead": "no gradient reaches any convolution, the net is dead",
    "vanished": "a gradient vanishes",
    "exploding": "a gradient explodes",
}


@dataclass(frozen=True)
class Finding:
    """What one measurement shows of several nets: a title, a sentence, and a table."""

    title: str
    sentence: str
    columns: list[str]
    rows: list[list[str]]


Nets = list[NetRows]


def find_responses(nets: Nets) -> Finding:
    rows, means = [], {}
    for net in nets:
        stds = [mean(row.std for row in layer) for layer in zip(*net.seeds, strict=True)]
        means[net.name] = mean(stds)
        rows.append([net.name, *(f"{value:.3f}" for value in (mean(stds), min(stds), max(stds)))])
    order = " < ".join(sorted(means, key=means.__getitem__))
    if len(means) == 1:
        order += f": {means[order]:.3f}"
    return Finding(
        "Layer responses (figure 7)",
        f"Standard deviation of 3x3 layers' outputs, mean over layers: {order}.",
        ["net", "mean", "weakest layer", "strongest layer"],
        rows,
    )


def find_signals(nets: Nets) -> Finding:
    rows, problems = [], []
    slopes: dict[str, float] = {}  # the first convolution's gradient divided by the last one's
    for net in nets:
        for when, pick in (("at the beginning", min), ("at the end", max)):
            seeds = rows_at(net, pick)
            at = {seed[0].iteration for seed in seeds}
            if pick is min and at != {0}:
                continue
            layers = list(zip(*seeds, strict=True))
            gradients = [mean(row.gradient_norm for row in layer) for layer in layers]
            with np.errstate(all="ignore"):
                ratios = np.divide(gradients, gradients[-2]).tolist()
            if 0 < ratios[0] < math.inf:
                slopes[f"{net.name} {when}"] = ratios[0]
            iterations = [f"{iteration:,}" for iteration in sorted({min(at), max(at)})]
            stds = [mean(row.signal_std for row in layer) for layer in layers]
            row = [net.name, " - ".join(iterations), _format(ratios[0])]
            rows.append([*row, _format_range(ratios), _format_range(stds)])
            outcomes = [gradient_outcome([row.gradient_norm for row in seed]) for seed in seeds]
            for outcome in dict.fromkeys(outcomes):
                count = outcomes.count(outcome)
                which = "" if count == len(seeds) else f" ({count} of {len(seeds)} seeds)"
                if outcome != "healthy":
                    problems.append(f"{net.name} {when}{which}: {PHRASES[outcome]}")
    sentence = "; ".join(problems) or (
        f"no layer's gradient is {FAR_OFF:,.0f} times smaller or larger than the last convolution's"
    )
    if slopes:
        steepest = max(slopes, key=lambda key: max(slopes[key], 1 / slopes[key]))
        sentence += (
            f"; the first layer's is {_format(slopes[steepest])} times the last convolution's "
            f"where they differ most ({steepest})"
        )
    return Finding(
        "Forward signals and gradients",
        f"Gradients of all layers, for one batch of training images: {sentence}.",
        ["net", "iterations", "first / last", "all / last", "std of outputs"],
        rows,
    )


def gradient_outcome(norms: list[float]) -> str:
    """Whether a net's gradients are "dead", "vanished", "exploding" or "healthy".

    norms: of the gradients of all layers with weights, in order; the last one is the classifier's.
    """
    convolutions = norms[:-1]
    last = convolutions[-1]
    if not all(map(math.isfinite, norms)):
        return "exploding"
    if not any(convolutions):
        return "dead"
    if not all(norms) or min(convolutions) < last / FAR_OFF:
        return "vanished"
    return "exploding" if max(convolutions) > FAR_OFF * last else "healthy"


def _format_range(values: list[float]) -> str:
    if any(map(math.isnan, values)):
        return "-"
    return f"{_format(min(values))} - {_format(max(values))}"


def _format(value: float) -> str:
    """Three digits, or all before the point, without an exponent; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= value < math.inf else f"{value:.3g}"


def find_residuals(nets: Nets) -> Finding:
    rows, medians = [], []
    for net in nets:
        blocks = [row for seed in net.seeds for row in seed]
        ratios = [row.ratio for row in blocks if row.is_identity]
        others = [row.ratio for row in blocks if not row.is_identity]
        row = [net.name, *(f"{of(ratios):.2f}" if ratios else "-" for of in (median, min, max))]
        row.append(f"{sum(ratio < 1 for ratio in ratios)}/{len(ratios)}")
        rows.append([*row, f"{median(others):.2f}" if others else "-"])
        # With option C every shortcut is a projection.
        hint = "" if ratios else " (no identity)"
        medians.append(f"{median(ratios or others):.2f} in {net.name}{hint}")
    return Finding(
        "F(x) compared with x",
        "Norm of the residual branch divided by that of the identity shortcut, median over blocks: "
        f"{', '.join(medians)}.",
        ["net", "median", "smallest", "largest", "F < x", "median, no identity"],
        rows,
    )


def find_lesions(nets: Nets) -> Finding:
    rows, medians = [], []
    for net in nets:
        lesions = [row for seed in net.seeds for row in seed]
        whole = mean(row.error for row in lesions if row.count == 0)
        singles = [row for row in lesions if row.position > 0]
        change = median(row.error - whole for row in singles)
        worst = max(singles, key=lambda row: row.error)
        row = [net.name, f"{whole:.2f}", f"{change:+.2f}"]
        rows.append([*row, f"{worst.error - whole:+.2f} ({worst.blocks})"])
        medians.append(f"{change:+.1f} points in {net.name}")
    return Finding(
        "Without a block",
        f"Held-out error without one block, median over blocks: {', '.join(medians)}.",
        ["net", "error (%)", "median change", "largest change"],
        rows,
    )
