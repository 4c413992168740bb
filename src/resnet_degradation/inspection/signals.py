"""Forward signals and gradients of every layer, with the initial weights and with the last ones."""

import math
from statistics import mean

import numpy as np

from resnet_degradation.figures.inspection import plot_signals, rows_at
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.layer_stats import measure_layer_stats
from resnet_degradation.records.layers import LayerStats, read_layer_stats

# A gradient vanishes, or explodes, if it is this many times smaller, or larger, than that of the
# last convolution.
FAR_OFF = 1000.0
LAST_CONVOLUTION = -2  # its place among the layers; the last layer is the classifier

# The text in the report for each `gradient_outcome`.
PHRASES = {
    "dead": "no gradient reaches any convolution (the net is dead)",
    "vanished": "a gradient vanishes",
    "exploding": "a gradient explodes",
}


def measure(subject: Subject) -> list[LayerStats]:
    """Layer statistics at initialization, during training (if recorded), and of the final weights.

    Those at initialization are left out if they were not recorded and the initial weights are not
    known.
    """
    trained = subject.trained
    ((images, labels),) = subject.training_batches(1)
    recorded = read_layer_stats(trained.folder).items()
    signals = {iteration: at for iteration, at in recorded if iteration < trained.iteration}
    if 0 not in signals and subject.initial_net is not None:
        signals[0] = measure_layer_stats(subject.initial_net, images, labels, 0)
    signals[trained.iteration] = measure_layer_stats(trained.net, images, labels, trained.iteration)
    return [row for _, rows in sorted(signals.items()) for row in rows]


def summarize(nets: Nets) -> Finding:
    """Title, sentence and table: how gradients and outputs differ between the layers of these nets.

    If some net's initial weights are unknown, the title gives the ratios after training.
    """
    table, problems = [], []
    measured: dict[str, list[Measured]] = {"before": [], "after": []}
    first_over_last: dict[str, float] = {}  # ratio of gradient norms, by net and time
    for net in nets:
        for time, pick in (("before", min), ("after", max)):
            seeds = rows_at(net, pick)
            recorded = {rows[0].iteration for rows in seeds}
            if time == "before" and recorded != {0}:
                continue
            when = "at the beginning" if time == "before" else "at the end"
            layers = list(zip(*seeds, strict=True))
            gradients = [mean(row.gradient_norm for row in layer) for layer in layers]
            with np.errstate(all="ignore"):
                ratios = np.divide(gradients, gradients[LAST_CONVOLUTION]).tolist()
            per_seed = [_first_over_last(rows) for rows in seeds]
            measured[time].append(Measured(net.name, net.config, ratios[0], per_seed))
            if 0 < ratios[0] < math.inf:
                first_over_last[f"{net.name} {when}"] = ratios[0]
            iterations = [f"{iteration:,}" for iteration in sorted({min(recorded), max(recorded)})]
            stds = [mean(row.signal_std for row in layer) for layer in layers]
            cells = [net.name, " - ".join(iterations), _format(ratios[0])]
            table.append([*cells, _format_range(ratios), _format_range(stds)])
            outcomes = [gradient_outcome([row.gradient_norm for row in rows]) for rows in seeds]
            for outcome in dict.fromkeys(outcomes):
                count = outcomes.count(outcome)
                which = "" if count == len(seeds) else f" ({count} of {len(seeds)} seeds)"
                if outcome != "healthy":
                    problems.append(f"{net.name} {when}{which}: {PHRASES[outcome]}")
    sentence = "; ".join(problems) or (
        f"no layer's gradient is {FAR_OFF:,.0f} times smaller or larger than the last convolution's"
    )
    if first_over_last:
        farthest = max(first_over_last, key=lambda key: abs(math.log(first_over_last[key])))
        sentence += (
            "; the ratio of the first convolution's gradient norm to the last one's is farthest "
            f"from 1 ({_format(first_over_last[farthest])}) in {farthest}"
        )
    time = "before" if len(measured["before"]) == len(nets) else "after"
    quantity = f"Gradient of the first convolution / the last one, {time} training"
    return Finding(
        title_of(quantity, measured[time], _format, factors=True),
        f"Gradients of all layers, for one batch of training images: {sentence}.",
        ["net", "iterations", "first / last", "all / last", "std of outputs"],
        table,
    )


def _first_over_last(rows: list[LayerStats]) -> float:
    """The norm of the first convolution's gradient divided by the last one's; NaN if that is 0."""
    last = rows[LAST_CONVOLUTION].gradient_norm
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
    """The smallest and the largest value; "-" if any is NaN."""
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

PROBE = Probe(LayerStats, measure, summarize, plot_signals, about=ABOUT)
