"""Forward signals and gradients of every layer, with the initial weights and with the last ones."""

import math
from statistics import mean

import numpy as np

from resnet_degradation.figures.inspection import plot_signals, rows_at
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.layer_stats import layer_stats
from resnet_degradation.records.layers import LayerStats, read_layer_stats

# A gradient vanishes, or explodes, if it is this many times smaller, or larger, than that of the
# last convolution.
FAR_OFF = 1000.0

# The text in the report for each `gradient_outcome`.
PHRASES = {
    "dead": "no gradient reaches any convolution (the net is dead)",
    "vanished": "a gradient vanishes",
    "exploding": "a gradient explodes",
}


def measure(subject: Subject) -> list[LayerStats]:
    """Statistics with the initial weights (if known), those recorded in training, and the last."""
    trained = subject.trained
    ((images, labels),) = subject.training_batches(1)
    recorded = read_layer_stats(trained.folder).items()
    signals = {iteration: at for iteration, at in recorded if iteration < trained.iteration}
    if 0 not in signals and subject.initial_net is not None:
        signals[0] = layer_stats(subject.initial_net, images, labels, 0)
    signals[trained.iteration] = layer_stats(trained.net, images, labels, trained.iteration)
    return [row for _, rows in sorted(signals.items()) for row in rows]


def find(nets: Nets) -> Finding:
    rows, problems = [], []
    measured: dict[str, list[Measured]] = {"before": [], "after": []}
    slopes: dict[str, float] = {}  # the first convolution's gradient divided by the last one's
    for net in nets:
        for when, pick in (("at the beginning", min), ("at the end", max)):
            seeds = rows_at(net, pick)
            recorded = {seed[0].iteration for seed in seeds}
            if pick is min and recorded != {0}:
                continue
            layers = list(zip(*seeds, strict=True))
            gradients = [mean(row.gradient_norm for row in layer) for layer in layers]
            with np.errstate(all="ignore"):
                ratios = np.divide(gradients, gradients[-2]).tolist()
            own = [_first_over_last(seed) for seed in seeds]
            measured["before" if pick is min else "after"].append(
                Measured(net.name, net.config, ratios[0], own)
            )
            if 0 < ratios[0] < math.inf:
                slopes[f"{net.name} {when}"] = ratios[0]
            iterations = [f"{iteration:,}" for iteration in sorted({min(recorded), max(recorded)})]
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
            f"; that of the first layer is {_format(slopes[steepest])} times that of the last "
            f"convolution in {steepest}, where they differ most"
        )
    when = "before" if len(measured["before"]) == len(nets) else "after"
    subject = f"Gradient of the first convolution / the last one, {when} training"
    return Finding(
        title_of(subject, measured[when], _format, factors=True),
        f"Gradients of all layers, for one batch of training images: {sentence}.",
        ["net", "iterations", "first / last", "all / last", "std of outputs"],
        rows,
    )


def _first_over_last(rows: list[LayerStats]) -> float:
    """The norm of the first convolution's gradient divided by the last one's; NaN if that is 0."""
    last = rows[-2].gradient_norm
    return rows[0].gradient_norm / last if last else math.nan


def gradient_outcome(norms: list[float]) -> str:
    """Whether a net's gradients are "dead", "vanished", "exploding" or "healthy".

    norms: the norm of the gradient of each layer with weights, in order; the last layer is the
    classifier.
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
    """Three significant digits, or the whole number from 1000 on; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= value < math.inf else f"{value:.3g}"


ABOUT = (
    "The norm of the gradient of every layer's weights, and the standard deviation of its "
    "output before batch normalization, for one batch of training images in training "
    "mode."
)

PROBE = Probe(LayerStats, measure, find, plot_signals, about=ABOUT)
