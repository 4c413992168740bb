"""Shattered gradients: how alike a net's gradients at nearby inputs are (Balduzzi et al. 2017)."""

from statistics import mean

import torch

from resnet_degradation.data.dataset import evenly_spaced
from resnet_degradation.figures.shattering import plot_shattering
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.shattering import (
    NUM_POINTS,
    Correlation,
    brown_noise,
    correlations,
    input_gradients,
    white_noise,
)
from resnet_degradation.system.errors import ConfigError

NUM_LINES = 20
WHEN = {"initial": "before", "trained": "after"}


def measure(subject: Subject) -> list[Correlation]:
    """Correlations along lines between held-out images: with the initial and the last weights.

    The references, white and brown noise of the images' dimensions, are rows of their own.
    """
    images = torch.cat(subject.images)
    chosen = images[evenly_spaced(len(images), 2 * NUM_LINES)]
    half = len(chosen) // 2
    lines = list(zip(chosen[:half], chosen[half : 2 * half], strict=True))
    if half == 0:
        raise ConfigError(
            "what=shattering needs at least two held-out images: set images to 2 or more"
        )
    nets = {"initial": subject.initial_net, "trained": subject.net}
    rows = []
    done = 0
    for when, net in nets.items():
        if net is None:
            continue
        of_lines = []
        for first, last in lines:
            of_lines.append(correlations(input_gradients(net, first, last)))
            done += 1
            subject.report("shattering", done, half * sum(net is not None for net in nets.values()))
        rows += _rows(when, torch.stack(of_lines))
    dimensions = chosen[0].numel()
    for name, noise in (("white noise", white_noise), ("brown noise", brown_noise)):
        rows += _rows(name, correlations(noise(dimensions))[None])
    return rows


def _rows(of: str, of_lines: torch.Tensor) -> list[Correlation]:
    """A row for each distance, from correlations (lines, distances)."""
    spread = of_lines.std(dim=0) if len(of_lines) > 1 else torch.zeros(of_lines.shape[1])
    pairs = zip(of_lines.mean(dim=0).tolist(), spread.tolist(), strict=True)
    return [Correlation(of, distance, *values) for distance, values in enumerate(pairs)]


def find(nets: Nets) -> Finding:
    rows, texts = [], []
    measured: dict[str, list[Measured]] = {"initial": [], "trained": []}
    for net in nets:
        values = {}
        for of in ("initial", "trained"):
            seeds = [
                [row for row in seed if (row.of, row.distance) == (of, 1)] for seed in net.seeds
            ]
            if all(seeds):
                neighbours = [seed[0].correlation for seed in seeds]
                own = Measured(net.name, net.config, mean(neighbours), neighbours)
                measured[of].append(own)
                values[of] = (
                    own.value,
                    mean(seed[0].spread for seed in seeds),
                )
        cells = [f"{m:.2f} ± {s:.2f}" for m, s in values.values()]
        texts += [f"{net.name} {of} {cell}" for of, cell in zip(values, cells, strict=True)]
        rows.append([net.name, *(cells if len(cells) == 2 else ["-", *cells])])
    when = "initial" if len(measured["initial"]) == len(nets) else "trained"
    subject = f"Correlation of gradients at neighbouring inputs, {WHEN[when]} training"
    return Finding(
        title_of(subject, measured[when], "{:.2f}".format),
        "Correlation of the gradients at neighbouring points of a line between two images, "
        f"{NUM_POINTS} points each (mean ± standard deviation over lines; white noise 0): "
        f"{', '.join(texts)}.",
        ["net", "initial", "trained"],
        rows,
    )


ABOUT = (
    "The cosine between the gradients of a fixed random combination of the logits at two "
    "points of a line between two held-out images, in evaluation mode, averaged over "
    "pairs of points and 20 lines (after Balduzzi et al. 2017)."
)

PROBE = Probe(Correlation, measure, find, plot_shattering, about=ABOUT)
