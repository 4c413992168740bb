"""Shattered gradients: whether nearby inputs have similar gradients (Balduzzi et al. 2017)."""

from statistics import mean

import torch

from resnet_degradation.data.dataset import evenly_spaced_indices
from resnet_degradation.figures.shattering import plot_shattering
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.shattering import (
    NUM_POINTS,
    Correlation,
    brown_noise,
    input_gradients,
    mean_cosines,
    white_noise,
)
from resnet_degradation.system.errors import ConfigError

NUM_LINES = 20


def measure(subject: Subject) -> list[Correlation]:
    """Measure correlations on lines between held-out images, with the initial and last weights.

    The rows of white and brown noise with the same dimensions are references. Raises ConfigError if
    there are fewer than two held-out images.
    """
    images = torch.cat(subject.images)
    end_points = images[evenly_spaced_indices(len(images), 2 * NUM_LINES)]
    num_lines = len(end_points) // 2
    lines = list(zip(end_points[:num_lines], end_points[num_lines : 2 * num_lines], strict=True))
    if num_lines == 0:
        raise ConfigError(
            "what=shattering needs at least two held-out images: set images to 2 or more"
        )
    nets = {"initial": subject.initial_net, "trained": subject.net}
    num_steps = num_lines * sum(net is not None for net in nets.values())
    rows = []
    step = 0
    for weights, net in nets.items():
        if net is None:
            continue
        line_correlations = []
        for first, last in lines:
            line_correlations.append(mean_cosines(input_gradients(net, first, last)))
            step += 1
            subject.report("shattering", step, num_steps)
        rows += _make_rows(weights, torch.stack(line_correlations))
    dimensions = end_points[0].numel()
    for name, noise in (("white noise", white_noise), ("brown noise", brown_noise)):
        rows += _make_rows(name, mean_cosines(noise(dimensions))[None])
    return rows


def _make_rows(source: str, line_correlations: torch.Tensor) -> list[Correlation]:
    """Make a row for each distance, with the mean and spread over lines.

    line_correlations: shape (number of lines, number of distances).
    """
    spread = (
        line_correlations.std(dim=0)
        if len(line_correlations) > 1
        else torch.zeros(line_correlations.shape[1])
    )
    pairs = zip(line_correlations.mean(dim=0).tolist(), spread.tolist(), strict=True)
    return [Correlation(source, distance, *values) for distance, values in enumerate(pairs)]


def make_finding(nets: Nets) -> Finding:
    """Summarize the correlation at neighbouring points of the lines."""
    table, phrases = [], []
    measured: dict[str, list[NetMeasurement]] = {"initial": [], "trained": []}
    for net in nets:
        values = {}
        for weights in ("initial", "trained"):
            neighbours = [
                [row for row in rows if (row.of, row.distance) == (weights, 1)]
                for rows in net.seeds
            ]
            if all(neighbours):
                per_seed = [rows[0].correlation for rows in neighbours]
                result = NetMeasurement(net.name, net.config, mean(per_seed), per_seed)
                measured[weights].append(result)
                values[weights] = (result.value, mean(rows[0].spread for rows in neighbours))
        cells = [f"{correlation:.2f} ± {spread:.2f}" for correlation, spread in values.values()]
        phrases += [
            f"{net.name} {weights} {cell}" for weights, cell in zip(values, cells, strict=True)
        ]
        table.append([net.name, *(cells if len(cells) == 2 else ["-", *cells])])
    weights = "initial" if len(measured["initial"]) == len(nets) else "trained"
    time = "before" if weights == "initial" else "after"
    quantity = f"Correlation of gradients at neighbouring inputs, {time} training"
    return Finding(
        compose_title(quantity, measured[weights], "{:.2f}".format),
        "Correlation of the gradients at neighbouring points of a line between two images, "
        f"{NUM_POINTS} points each (mean ± standard deviation over lines; white noise 0): "
        f"{', '.join(phrases)}.",
        ["net", "initial", "trained"],
        table,
    )


DEFINITION = (
    "The cosine similarity of the gradients of a fixed random combination of the logits at two "
    "points of a line between two held-out images, in evaluation mode, averaged over "
    f"pairs of points and {NUM_LINES} lines (after Balduzzi et al. 2017)."
)

PROBE = Probe(Correlation, measure, make_finding, plot_shattering, about=DEFINITION)
