"""Sharpness: the largest eigenvalue of the Hessian of the training loss."""

import math
from collections.abc import Sequence
from itertools import chain, pairwise
from statistics import mean

from resnet_degradation.figures.sharpness import plot_sharpness
from resnet_degradation.figures.titles import NetMeasurement, compose_title
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.sharpness import Sharpness, measure_sharpness, stability_limit
from resnet_degradation.records.metrics import read_valid_rows
from resnet_degradation.training.load_run import load_kept_nets

# A Hessian-vector product takes about three times as long as a training step on the same images,
# and Lanczos iteration computes up to MAX_PRODUCTS of them.
MAX_IMAGES = 64


def measure(subject: Subject) -> list[Sharpness]:
    """Measure the sharpness of the initial net (if known), each kept checkpoint, and the last one.

    Rows with images = 0 only record the stability limit just before the learning rate changes.
    """
    trained, recipe = subject.trained, subject.trained.config.recipe
    num_images = min(subject.options.images, MAX_IMAGES)
    batches = subject.training_batches(math.ceil(num_images / recipe.batch_size))
    last_size = num_images - sum(len(labels) for _, labels in batches[:-1])
    batches[-1] = (batches[-1][0][:last_size], batches[-1][1][:last_size])
    images = sum(len(labels) for _, labels in batches)
    record = [row for row in read_valid_rows(trained.folder) if row.iteration <= trained.iteration]

    def limit_at(iteration: int) -> float:
        # Not every iteration has a row in the record, so take the next row.
        rates = [row.lr for row in record if row.iteration >= iteration] or [recipe.lr]
        return stability_limit(rates[0], recipe.momentum)

    rows = [
        Sharpness(row.iteration, 0, None, limit_at(row.iteration))
        for row, next_row in pairwise(record)
        if row.lr != next_row.lr
    ]
    initial = [(0, subject.initial_net)] if subject.initial_net is not None else []
    for iteration, net in chain(
        initial, load_kept_nets(trained), [(trained.iteration, subject.net)]
    ):

        def report_product(products: int, total: int, iteration: int = iteration) -> None:
            subject.report(f"sharpness at iteration {iteration:,}", products, total)

        value = measure_sharpness(net, batches, report_product)
        rows.append(Sharpness(iteration, images, value, limit_at(iteration)))
    return sorted(rows, key=lambda row: (row.iteration, row.images))


def make_finding(nets: Nets) -> Finding:
    """Summarize the sharpness of these nets, compared with the stability limit."""
    table, phrases = [], []
    initial: list[NetMeasurement] = []
    trained: list[NetMeasurement] = []
    for net in nets:
        measured = [[row for row in rows if row.images > 0] for rows in net.seeds]
        first = [row.value for rows in measured for row in rows if row.iteration == 0]
        last = [rows[-1].value for rows in measured]
        for values, summaries in ((first, initial), (last, trained)):
            if known := [value for value in values if value is not None]:
                summaries.append(NetMeasurement(net.name, net.config, mean(known), known))
        cells = [_format_range(first), _format_range(last)]
        phrases.append(f"{net.name} from {cells[0]} to {cells[1]}")
        known_rows = [row for rows in measured for row in rows if row.value is not None]
        num_above = sum(row.value > row.limit for row in known_rows)
        cells.append(_format_range([max(rows, key=_sort_key).value for rows in measured]))
        limits = _format_range([row.limit for rows in net.seeds for row in rows])
        table.append([net.name, *cells, limits, f"{num_above}/{len(known_rows)}"])
    num_images = max(row.images for row in nets[0].seeds[0])
    show_initial = len(initial) == len(nets)
    title_limits = [rows[0 if show_initial else -1].limit for net in nets for rows in net.seeds]
    time, shown = ("before", initial) if show_initial else ("after", trained)
    limit = _format_range(title_limits)
    return Finding(
        compose_title(
            f"Sharpness of the loss {time} training (unstable above {limit})",
            shown,
            _format_number,
            factors=True,
        ),
        f"Largest eigenvalue of the Hessian of the loss on {num_images} training images, "
        f"from the initial to the last weights: {', '.join(phrases)}. A learning rate is unstable "
        "if this eigenvalue exceeds 2 (1 + momentum) / rate.",
        ["net", "initial", "trained", "largest", "stability limit", "above it"],
        table,
    )


def _sort_key(row: Sharpness) -> float:
    """The sharpness of a row, or minus infinity if it was not found."""
    return -math.inf if row.value is None else row.value


def _format_range(values: Sequence[float | None]) -> str:
    """Format the range of the values that are not None; "not found" if there are none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "not found"
    return " - ".join(dict.fromkeys([_format_number(known[0]), _format_number(known[-1])]))


def _format_number(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"


DEFINITION = (
    "The largest eigenvalue of the Hessian of the mean cross-entropy on one batch of training "
    "images, in training mode and without weight decay. Lanczos iteration finds it to two percent. "
    "It is measured with the initial weights, with the weights that the run kept "
    "(runtime.keep_every), and with the last weights. Gradient descent on a quadratic loss "
    "diverges above the stability limit of its learning rate. Training a net on full batches "
    "raises its sharpness to about that limit (Cohen et al. 2021)."
)

PROBE = Probe(Sharpness, measure, make_finding, plot_sharpness, about=DEFINITION)
