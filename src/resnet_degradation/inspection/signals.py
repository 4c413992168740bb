"""Signals: the outputs and gradients of every layer, with the initial and the last weights."""

import math
from statistics import mean

import numpy as np

from resnet_degradation.figures.inspection import plot_signals, select_rows
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.layer_stats import measure_layer_stats
from resnet_degradation.records.layers import LayerStats, read_layer_stats

# If the norm of a gradient differs from the last convolution's by more than this factor, the
# gradient vanishes or explodes.
MAX_GRADIENT_RATIO = 1000.0
LAST_CONVOLUTION = -2  # index in the list of layers; the last layer is the classifier

# What the report says for each `gradient_outcome`.
OUTCOME_TEXTS = {
    "dead": "no gradient reaches any convolution (the net is dead)",
    "vanished": "a gradient vanishes",
    "exploding": "a gradient explodes",
}


def measure(subject: Subject) -> list[LayerStats]:
    """Measure layer statistics with the initial and the last weights.

    Adds the statistics that were recorded during training. The initial weights are left out if they
    are unknown and their statistics were not recorded.
    """
    trained = subject.trained
    ((images, labels),) = subject.training_batches(1)
    recorded = read_layer_stats(trained.folder).items()
    stats = {iteration: rows for iteration, rows in recorded if iteration < trained.iteration}
    if 0 not in stats and subject.initial_net is not None:
        stats[0] = measure_layer_stats(subject.initial_net, images, labels, 0)
    stats[trained.iteration] = measure_layer_stats(trained.net, images, labels, trained.iteration)
    return [row for _, rows in sorted(stats.items()) for row in rows]


def make_finding(nets: Nets) -> Finding:
    """Summarize how gradients and outputs differ between the layers of these nets.

    The title has the ratios before training, or after training if any initial weights are unknown.
    """
    table, problems = [], []
    measured: dict[str, list[NetMeasurement]] = {"before": [], "after": []}
    first_over_last: dict[str, float] = {}  # ratio of gradient norms, keyed by net and time
    for net in nets:
        for time, choose_iteration in (("before", min), ("after", max)):
            seeds = select_rows(net, choose_iteration)
            measured_at = {rows[0].iteration for rows in seeds}
            if time == "before" and measured_at != {0}:
                continue
            when = "at the beginning" if time == "before" else "at the end"
            layers = list(zip(*seeds, strict=True))
            gradients = [mean(row.gradient_norm for row in layer) for layer in layers]
            with np.errstate(all="ignore"):
                ratios = np.divide(gradients, gradients[LAST_CONVOLUTION]).tolist()
            per_seed = [_first_over_last(rows) for rows in seeds]
            measured[time].append(NetMeasurement(net.name, net.config, ratios[0], per_seed))
            if 0 < ratios[0] < math.inf:
                first_over_last[f"{net.name} {when}"] = ratios[0]
            ends = sorted({min(measured_at), max(measured_at)})
            iterations = " - ".join(f"{iteration:,}" for iteration in ends)
            stds = [mean(row.signal_std for row in layer) for layer in layers]
            cells = [net.name, iterations, _format_number(ratios[0])]
            table.append([*cells, _format_range(ratios), _format_range(stds)])
            outcomes = [gradient_outcome([row.gradient_norm for row in rows]) for rows in seeds]
            for outcome in dict.fromkeys(outcomes):
                count = outcomes.count(outcome)
                seed_count = "" if count == len(seeds) else f" ({count} of {len(seeds)} seeds)"
                if outcome != "healthy":
                    problems.append(f"{net.name} {when}{seed_count}: {OUTCOME_TEXTS[outcome]}")
    sentence = "; ".join(problems) or (
        f"no layer's gradient is {MAX_GRADIENT_RATIO:,.0f} times smaller or larger than the last "
        "convolution's"
    )
    if first_over_last:
        farthest = max(first_over_last, key=lambda key: abs(math.log(first_over_last[key])))
        sentence += (
            "; the ratio of the first convolution's gradient norm to the last one's is farthest "
            f"from 1 ({_format_number(first_over_last[farthest])}) in {farthest}"
        )
    time = "before" if len(measured["before"]) == len(nets) else "after"
    quantity = f"Gradient of the first convolution / the last one, {time} training"
    return Finding(
        compose_title(quantity, measured[time], _format_number, factors=True),
        f"Gradients of all layers, for one batch of training images: {sentence}.",
        ["net", "iterations", "first / last", "all / last", "std of outputs"],
        table,
    )


def _first_over_last(rows: list[LayerStats]) -> float:
    """Divide the first convolution's gradient norm by the last one's; return NaN if that is 0."""
    last = rows[LAST_CONVOLUTION].gradient_norm
    return rows[0].gradient_norm / last if last else math.nan


def gradient_outcome(norms: list[float]) -> str:
    """Classify a net's gradients as "dead", "vanished", "exploding" or "healthy".

    norms: the gradient norm of each layer with weights, in order. The last layer is the classifier.
    """
    convolutions = norms[:-1]
    last = convolutions[-1]
    if not all(map(math.isfinite, norms)):
        return "exploding"
    if not any(convolutions):
        return "dead"
    if not all(norms) or min(convolutions) < last / MAX_GRADIENT_RATIO:
        return "vanished"
    return "exploding" if max(convolutions) > MAX_GRADIENT_RATIO * last else "healthy"


def _format_range(values: list[float]) -> str:
    """Format the smallest and the largest value; "-" if any value is NaN."""
    if any(map(math.isnan, values)):
        return "-"
    return f"{_format_number(min(values))} - {_format_number(max(values))}"


def _format_number(value: float) -> str:
    """Format a value with three significant digits, or as an integer from 1000; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1000 <= value < math.inf else f"{value:.3g}"


DEFINITION = (
    "The norm of the gradient of every layer's weights, and the standard deviation of its "
    "output before batch normalization, for one batch of training images in training "
    "mode."
)

PROBE = Probe(LayerStats, measure, make_finding, plot_signals, about=DEFINITION)
