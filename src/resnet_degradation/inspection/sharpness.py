"""Sharpness: the largest eigenvalue of the Hessian of the training loss."""

import math
from collections.abc import Sequence
from itertools import chain, pairwise
from statistics import mean

from resnet_degradation.figures.sharpness import plot_sharpness
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.sharpness import Sharpness, sharpness, stability_limit
from resnet_degradation.records.metrics import read_valid_rows
from resnet_degradation.training.load_run import kept_nets

# A Hessian-vector product takes about three times as long as a training step of these images, and
# Lanczos iteration computes up to MAX_PRODUCTS of them.
MAX_IMAGES = 64


def measure(subject: Subject) -> list[Sharpness]:
    """Sharpness of the initial net (if known), of every kept checkpoint and of the last one.

    Rows with images = 0 only record the stability limit before a change of the learning rate.
    """
    trained, recipe = subject.trained, subject.trained.config.recipe
    num_images = min(subject.options.images, MAX_IMAGES)
    batches = subject.training_batches(math.ceil(num_images / recipe.batch_size))
    rest = num_images - sum(len(labels) for _, labels in batches[:-1])
    batches[-1] = (batches[-1][0][:rest], batches[-1][1][:rest])
    images = sum(len(labels) for _, labels in batches)
    record = [row for row in read_valid_rows(trained.folder) if row.iteration <= trained.iteration]

    def limit(iteration: int) -> float:
        # Not every iteration has a row in the record: take the next one that has.
        rates = [row.lr for row in record if row.iteration >= iteration] or [recipe.lr]
        return stability_limit(rates[0], recipe.momentum)

    rows = [
        Sharpness(row.iteration, 0, None, limit(row.iteration))
        for row, following in pairwise(record)
        if row.lr != following.lr
    ]
    initial = [(0, subject.initial_net)] if subject.initial_net is not None else []
    for iteration, net in chain(initial, kept_nets(trained), [(trained.iteration, subject.net)]):

        def report_product(products: int, total: int, iteration: int = iteration) -> None:
            subject.report(f"sharpness at iteration {iteration:,}", products, total)

        value = sharpness(net, batches, report_product)
        rows.append(Sharpness(iteration, images, value, limit(iteration)))
    return sorted(rows, key=lambda row: (row.iteration, row.images))


def summarize(nets: Nets) -> Finding:
    """Title, sentence and table: the sharpness of these nets, compared with the stability limit."""
    table, texts = [], []
    initial: list[Measured] = []
    trained: list[Measured] = []
    for net in nets:
        measured = [[row for row in rows if row.images > 0] for rows in net.seeds]
        first = [row.value for rows in measured for row in rows if row.iteration == 0]
        last = [rows[-1].value for rows in measured]
        for values, found in ((first, initial), (last, trained)):
            if known := [value for value in values if value is not None]:
                found.append(Measured(net.name, net.config, mean(known), known))
        cells = [_format(first), _format(last)]
        texts.append(f"{net.name} from {cells[0]} to {cells[1]}")
        known_rows = [row for rows in measured for row in rows if row.value is not None]
        above = sum(row.value > row.limit for row in known_rows)
        cells.append(_format([max(rows, key=_value).value for rows in measured]))
        limits = _format([row.limit for rows in net.seeds for row in rows])
        table.append([net.name, *cells, limits, f"{above}/{len(known_rows)}"])
    num_images = max(row.images for row in nets[0].seeds[0])
    all_initial = len(initial) == len(nets)
    ends = [rows[0 if all_initial else -1].limit for net in nets for rows in net.seeds]
    time, shown = ("before", initial) if all_initial else ("after", trained)
    quantity = f"Sharpness of the loss {time} training (unstable above {_format(ends)})"
    return Finding(
        title_of(quantity, shown, _number, factors=True),
        f"Largest eigenvalue of the Hessian of the loss on {num_images} training images, "
        f"from the initial to the last weights: {', '.join(texts)}. A learning rate is unstable if "
        "this eigenvalue exceeds 2 (1 + momentum) / rate.",
        ["net", "initial", "trained", "largest", "stability limit", "above it"],
        table,
    )


def _value(row: Sharpness) -> float:
    """The sharpness of a row; minus infinity if it was not found."""
    return -math.inf if row.value is None else row.value


def _format(values: Sequence[float | None]) -> str:
    """The range of the values that are not None, or "not found" if all are."""
    known = sorted(value for value in values if value is not None)
    texts = [_number(value) for value in known]
    return " - ".join(dict.fromkeys([texts[0], texts[-1]])) if texts else "not found"


def _number(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"


ABOUT = (
    "The largest eigenvalue of the Hessian of the mean cross-entropy on one batch of "
    "training images in training mode, without weight decay, by Lanczos iteration to two "
    "percent: with the initial weights, with those that the run kept (runtime.keep_every), and "
    "with the last ones. Gradient descent on a quadratic loss diverges above the stability limit "
    "of its learning rate. Training a net on full batches raises its sharpness to about that limit "
    "(Cohen et al. 2021)."
)

PROBE = Probe(Sharpness, measure, summarize, plot_sharpness, about=ABOUT)
