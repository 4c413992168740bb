"""What was measured, in a sentence and a table: computed from the tables, whatever the result."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from resnet_degradation.figures.inspection import load_inspected
from resnet_degradation.records.inspection import BlockSizes, LayerStatsRow, LesionRow
from resnet_degradation.records.layers import Response

# A gradient is called vanishing, or exploding, where it is so many times smaller, or larger, than
# that of the last convolution, from which it has come back through the net.
FAR_OFF = 1000.0

# What each outcome of `gradient_outcome` but "healthy" says of a net.
PHRASES = {
    "dead": "no gradient reaches any convolution, the net is dead",
    "vanished": "a gradient vanishes",
    "exploding": "a gradient explodes",
}


@dataclass(frozen=True)
class Finding:
    """One measurement of several nets: a title, a sentence, and a row for every net."""

    name: str
    title: str
    sentence: str
    columns: list[str]
    rows: list[list[str]]


def find(name: str, folders: list[Path]) -> Finding | None:
    """What the tables of this name in run folders say; None if there is nothing to say."""
    found: dict[str, Callable[[list[Path]], Finding | None]] = {
        "responses": _responses,
        "signals": _signals,
        "residuals": _residuals,
        "lesions": _lesions,
    }
    return found[name](folders)


def _responses(folders: list[Path]) -> Finding:
    nets = load_inspected(folders, "responses", Response)
    rows, means = [], []
    for net in nets:
        stds = [mean(seed[i].std for seed in net.seeds) for i in range(len(net.seeds[0]))]
        means.append(mean(stds))
        rows.append([net.name, f"{mean(stds):.3f}", f"{min(stds):.3f}", f"{max(stds):.3f}"])
    order = [nets[i].name for i in sorted(range(len(nets)), key=means.__getitem__)]
    weakest = f"{' < '.join(order)}" if len(order) > 1 else f"{order[0]}: {means[0]:.3f}"
    return Finding(
        "responses",
        "Layer responses (figure 7)",
        f"Standard deviation of 3x3 layers' outputs, mean over layers: {weakest}.",
        ["net", "mean", "weakest layer", "strongest layer"],
        rows,
    )


def _signals(folders: list[Path]) -> Finding:
    nets = load_inspected(folders, "signals", LayerStatsRow)
    rows, sentences = [], []
    slopes: dict[str, float] = {}  # how unequal gradients of the first and last convolution are
    for net in nets:
        for when, pick in (("at the beginning", min), ("as it is now", max)):
            at = {pick(row.iteration for row in seed) for seed in net.seeds}
            if pick is min and at != {0}:
                continue
            seeds = [_rows_at(seed, pick) for seed in net.seeds]
            outcomes = [gradient_outcome([row.gradient_norm for row in rows]) for rows in seeds]
            gradients = [mean(r.gradient_norm for r in layer) for layer in zip(*seeds, strict=True)]
            stds = [mean(r.signal_std for r in layer) for layer in zip(*seeds, strict=True)]
            last = gradients[-2]
            slope = _ratio(gradients[0], last)
            if 0 < slope < math.inf:
                slopes[f"{net.name} {when}"] = slope
            iterations = f"{min(at):,}" if len(at) == 1 else f"{min(at):,} - {max(at):,}"
            rows.append(
                [
                    net.name, iterations, _rounded(slope),
                    _range([_ratio(gradient, last) for gradient in gradients]), _range(stds),
                ]
            )  # fmt: skip
            for outcome in dict.fromkeys(outcomes):
                if outcome != "healthy":
                    count = outcomes.count(outcome)
                    which = "" if count == len(seeds) else f" ({count} of {len(seeds)} seeds)"
                    sentences.append(f"{net.name} {when}{which}: {PHRASES[outcome]}")
    said = "; ".join(sentences) or (
        f"no layer's gradient is {FAR_OFF:,.0f} times smaller or larger than the last convolution's"
    )
    steepest = max(slopes, key=lambda key: max(slopes[key], 1 / slopes[key]), default=None)
    return Finding(
        "signals",
        "Forward signals and gradients",
        f"Gradients of all layers, for one batch of training images: {said}"
        + (
            f"; the first layer's is {_rounded(slopes[steepest])} times the last convolution's "
            f"where they differ most ({steepest})."
            if steepest is not None
            else "."
        ),
        ["net", "iterations", "first / last", "all / last", "std of outputs"],
        rows,
    )


def gradient_outcome(norms: list[float]) -> str:
    """Whether a net's gradients are "dead", "vanished", "exploding" or "healthy".

    norms: of the gradients of all layers with weights, from the images to the logits; the last one
    is the classifier's, the one before it the last convolution's.
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


def _rows_at(rows: Sequence[LayerStatsRow], pick: Callable[..., int]) -> list[LayerStatsRow]:
    """The rows of the first or the last iteration, whichever `pick` picks."""
    at = pick(row.iteration for row in rows)
    return [row for row in rows if row.iteration == at]


def _ratio(one: float, other: float) -> float:
    """One divided by the other; a layer that gets no gradient at all is infinitely far from one."""
    return one / other if other > 0 else math.inf if one > 0 else math.nan


def _range(values: list[float]) -> str:
    """The smallest and the largest of the values; "-" if one is no number."""
    if any(map(math.isnan, values)):
        return "-"
    return f"{_rounded(min(values))} - {_rounded(max(values))}"


def _rounded(value: float) -> str:
    """Three digits, or all before the point, without an exponent; "-" if it is no number."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= value < math.inf else f"{value:.3g}"


def _residuals(folders: list[Path]) -> Finding | None:
    nets = load_inspected(folders, "residuals", BlockSizes)
    if not nets:
        return None
    rows, told = [], []
    for net in nets:
        ratios = [row.ratio for seed in net.seeds for row in seed if row.is_identity]
        others = [row.ratio for seed in net.seeds for row in seed if not row.is_identity]
        small = sum(ratio < 1 for ratio in ratios)
        rows.append(
            [
                net.name, *(f"{of(ratios):.2f}" if ratios else "-" for of in (median, min, max)),
                f"{small}/{len(ratios)}", f"{median(others):.2f}" if others else "-",
            ]
        )  # fmt: skip
        if ratios:
            told.append(f"{median(ratios):.2f} in {net.name}")
        else:  # option C: every shortcut is a projection
            told.append(f"{median(others):.2f} in {net.name} (no identity)")
    return Finding(
        "residuals",
        "How large F(x) is beside x",
        "Norm of the residual branch beside that of the identity shortcut, median over blocks: "
        f"{', '.join(told)}.",
        ["net", "median", "least", "most", "F < x", "median, no identity"],
        rows,
    )


def _lesions(folders: list[Path]) -> Finding:
    nets = load_inspected(folders, "lesions", LesionRow)
    rows, told = [], []
    for net in nets:
        whole = mean(row.error for seed in net.seeds for row in seed if row.count == 0)
        singles = [row.error - whole for seed in net.seeds for row in seed if row.position > 0]
        worst = max(
            (row for seed in net.seeds for row in seed if row.position > 0),
            key=lambda row: row.error,
        )
        rows.append(
            [
                net.name, f"{whole:.2f}", f"{median(singles):+.2f}",
                f"{max(singles):+.2f} ({worst.blocks})",
            ]
        )  # fmt: skip
        told.append(f"{median(singles):+.1f} points in {net.name}")
    return Finding(
        "lesions",
        "Without a block",
        f"Held-out error without one block, median over blocks: {', '.join(told)}.",
        ["net", "error (%)", "median change", "largest change"],
        rows,
    )
