"""Sharpness: the largest eigenvalue of the Hessian of the training loss."""

import math
from statistics import mean

from resnet_degradation.figures.sharpness import plot_sharpness
from resnet_degradation.figures.titles import Measured, title_of
from resnet_degradation.inspection.probe import Finding, Nets, Probe, Subject
from resnet_degradation.probes.sharpness import Sharpness, sharpness, stability_limit

# A Hessian-vector product takes about three times as long as a training step of these images, and
# up to 200 are needed.
MAX_IMAGES = 64


def measure(subject: Subject) -> list[Sharpness]:
    """The sharpness with the initial weights, if they are known, and with the last ones."""
    trained, recipe = subject.trained, subject.trained.config.recipe
    num_images = min(subject.options.images, MAX_IMAGES)
    batches = subject.training_batches(math.ceil(num_images / recipe.batch_size))
    first = num_images - sum(len(labels) for _, labels in batches[:-1])
    batches[-1] = (batches[-1][0][:first], batches[-1][1][:first])
    images = sum(len(labels) for _, labels in batches)
    limit = stability_limit(recipe.lr, recipe.momentum)
    nets = {0: subject.initial_net, trained.iteration: subject.net}
    rows = []
    for iteration, net in nets.items():
        if net is not None:

            def count(products: int, of: int, iteration: int = iteration) -> None:
                subject.report(f"sharpness at iteration {iteration:,}", products, of)

            value = sharpness(net, batches, count)
            rows.append(Sharpness(iteration, images, value, limit))
    return rows


def find(nets: Nets) -> Finding:
    rows, texts = [], []
    measured: dict[str, list[Measured]] = {"initial": [], "trained": []}
    images = nets[0].seeds[0][0].images
    for net in nets:
        values = {}
        for when in ("initial", "trained"):
            found = [
                r.value for s in net.seeds for r in s if (r.iteration == 0) == (when == "initial")
            ]
            values[when] = known = [value for value in found if value is not None]
            if known:
                measured[when].append(Measured(net.name, net.config, mean(known), known))
        cells = [_format(v) for v in values.values()]
        limit = net.seeds[0][0].limit
        texts.append(f"{net.name} from {cells[0]} to {cells[1]}")
        rows.append([net.name, *cells, f"{limit:.3g}"])
    limits = sorted({row.limit for net in nets for seed in net.seeds for row in seed})
    when = "initial" if len(measured["initial"]) == len(nets) else "trained"
    time = "before" if when == "initial" else "after"
    subject = f"Sharpness of the loss {time} training (unstable above {_format(limits)})"
    return Finding(
        title_of(subject, measured[when], _number, factors=True),
        f"Largest eigenvalue of the Hessian of the loss on {images} training images, "
        f"from the initial to the last weights: {', '.join(texts)}. The recipe's highest rate is "
        f"unstable above {_format(limits)}: 2 (1 + momentum) / learning rate.",
        ["net", "initial", "trained", "stability limit"],
        rows,
    )


def _format(values: list[float]) -> str:
    """The range of these values, or "unclear" if there is none."""
    texts = [_number(value) for value in sorted(values)]
    return " - ".join(dict.fromkeys([texts[0], texts[-1]])) if texts else "unclear"


def _number(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"


ABOUT = (
    "The largest eigenvalue of the Hessian of the mean cross-entropy on one batch of "
    "training images in training mode, without weight decay, by Lanczos iteration to two "
    "percent. Gradient descent on a quadratic loss diverges above the limit."
)

PROBE = Probe(Sharpness, measure, find, plot_sharpness, about=ABOUT)
