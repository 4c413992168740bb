"""Layer responses (figure 7): the standard deviation of every 3x3 layer's output."""

from statistics import mean

from resnet_degradation.figures.inspection import plot_responses, responses_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.responses import measure_responses
from resnet_degradation.records.layers import Response


def measure(subject: Subject) -> list[Response]:
    """Measure the standard deviation of every 3x3 layer's output over the held-out images."""
    return measure_responses(subject.net, subject.images)


def make_finding(nets: Nets) -> Finding:
    """Summarize the mean, the weakest and the strongest response of these nets."""
    table, means = [], {}
    for net in nets:
        stds = [mean(row.std for row in layer) for layer in zip(*net.seeds, strict=True)]
        means[net.name] = mean(stds)
        table.append([net.name, *(f"{value:.3f}" for value in (mean(stds), min(stds), max(stds)))])
    order = " < ".join(sorted(means, key=means.__getitem__))
    if len(means) == 1:
        order += f": {means[order]:.3f}"
    return Finding(
        responses_title(nets),
        f"Standard deviation of 3x3 layers' outputs (figure 7), mean over layers: {order}.",
        ["net", "mean", "weakest layer", "strongest layer"],
        table,
    )


DEFINITION = (
    "The standard deviation, over images, channels and positions, of the output of every 3x3 "
    "convolution after batch normalization and before ReLU and addition, in evaluation "
    "mode (He et al. 2016, figure 7)."
)

PROBE = Probe(Response, measure, make_finding, plot_responses, about=DEFINITION)
