"""What a study would cost: multiply-adds, and time from a short measurement on this machine."""

import time
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch.nn import functional as F

from resnet_degradation.config import OWN_IMAGES, Config, data_name, run_folder
from resnet_degradation.data.sources import load_source
from resnet_degradation.durations import parse_duration
from resnet_degradation.errors import DataError
from resnet_degradation.naming import distinct_names, net_key
from resnet_degradation.nets import layer_costs, multiply_adds
from resnet_degradation.processes import on_cpu
from resnet_degradation.runs import is_finished, last_checkpoint
from resnet_degradation.study.define import Study
from resnet_degradation.train.net import make_net
from resnet_degradation.train.plan import make_plan
from resnet_degradation.train.setup import choose_device
from resnet_degradation.train.tuning import compiled_norm_relu, keeps_gradients, recompute

# A training step is a forward pass, and a backward pass that costs twice as much.
FORWARDS_A_STEP = 3
# A measured step has at most so many multiply-adds, so that it takes about a second or less and
# little memory; the batch is made smaller for it. Nets are measured, from the cheapest on, for
# about so many seconds; the costlier ones are taken to be as fast, by the multiply-add.
MAX_MEASURED = {"cpu": 2e10, "cuda": 1e12}
SECONDS_OF_MEASURING = 10.0
TIMED_STEPS = 3


@dataclass(frozen=True)
class Cost:
    """What is left of one run.

    state: "finished", "at 12,000" or "to do". multiply_adds: of training and evaluations.
    seconds: None where nothing is left to do.
    """

    run: Config
    iterations: int
    state: str
    multiply_adds: float
    seconds: float | None


@dataclass(frozen=True)
class Images:
    """How many images the runs have; None where they are not at hand."""

    num_train: int | None
    num_held_out: int
    num_classes: int
    problem: str = ""


def run_cost(run: Config) -> float:
    """The multiply-adds of a run's training, to compare it with others of the same recipe."""
    return image_cost(run) * parse_duration(run.recipe.iterations, "recipe.iterations")[0]


def image_cost(run: Config, num_classes: int = 10) -> int:
    """The multiply-adds of one image going forward through a run's net."""
    with torch.device("meta"):
        net = make_net(run, num_classes, initialised=False)
    return multiply_adds(net, run.data.image_size)


def count_images(run: Config) -> Images:
    """How many images a run has, without downloading any.

    Raises DataError where images of the user's own are not there.
    """
    try:
        source = load_source(replace(run.data, download=False))
    except DataError as error:
        if run.data.name in OWN_IMAGES or run.data.loader is not None:
            raise  # no run will download them
        return Images(None, 0, 10, str(error))
    held_out = sum(len(images) for images in source.held_out.values())
    return Images(len(source.train), held_out, len(source.classes))


def plan_costs(study: Study) -> tuple[list[Cost], Images, str]:
    """What is left of every run, the images it was counted for, and how time was measured.

    Raises DataError where images of the user's own are not there, or where others are not yet and
    the length is given in epochs of them.
    """
    images = count_images(study.runs[0])
    _, in_epochs = parse_duration(study.runs[0].recipe.iterations, "recipe.iterations")
    if images.num_train is None and in_epochs:
        raise DataError(f"recipe.iterations is given in epochs, but {images.problem}")
    per_image = {net_key(run): image_cost(run, images.num_classes) for run in study.runs}
    lengths = [_steps_and_evaluated(run, images) for run in study.runs]
    speeds, measured = measure_speeds(study.pending(), per_image)
    costs = []
    for run, (iterations, evaluated) in zip(study.runs, lengths, strict=True):
        if is_finished(run_folder(run)):
            costs.append(Cost(run, iterations, "finished", 0.0, None))
            continue
        done = last_checkpoint(run_folder(run))
        trained = FORWARDS_A_STEP * run.recipe.batch_size * (iterations - done)
        share = (iterations - done) / iterations
        work = per_image[net_key(run)] * (trained + evaluated * share)
        state = f"at {done:,}" if done else "to do"
        costs.append(Cost(run, iterations, state, work, work * speeds[net_key(run)]))
    return costs, images, measured


def _steps_and_evaluated(run: Config, images: Images) -> tuple[int, float]:
    """The iterations of a run, and how many images it evaluates."""
    if images.num_train is None:
        return int(run.recipe.iterations), 0.0
    plan = make_plan(run, images.num_train, images.num_held_out)
    # And once more, for the layer responses at the end.
    return plan.num_iterations, images.num_held_out * (
        -(-plan.num_iterations // plan.eval_every) + 1
    )


def measure_speeds(runs: list[Config], per_image: dict[str, int]) -> tuple[dict[str, float], str]:
    """Seconds a multiply-add for the net of each run, and in words how that was measured.

    per_image, and the seconds: by the key of the net.
    """
    distinct = {net_key(run): run for run in runs}
    names = dict(zip(distinct, distinct_names([*distinct.values()]), strict=True))
    speeds: dict[str, float] = {}
    measured: list[str] = []
    began = time.monotonic()
    for net in sorted(distinct, key=lambda net: per_image[net]):
        if not measured or time.monotonic() - began < SECONDS_OF_MEASURING:
            batch_size, seconds = measure_step(distinct[net], per_image[net])
            speeds[net] = seconds / (FORWARDS_A_STEP * per_image[net] * batch_size)
            measured.append(f"{names[net]} ({seconds:.2f} s for {batch_size} images)")
        else:
            speeds[net] = list(speeds.values())[-1]
    rest = ", the others by multiply-adds" if len(measured) < len(distinct) else ""
    return speeds, f"{', '.join(measured)}{rest}" if measured else ""


def measure_step(run: Config, per_image: int) -> tuple[int, float]:
    """The size of a batch and the seconds of a training step on it, of random images.

    The first step is not timed; of the others, the fastest counts.
    """
    device = choose_device(run)
    limit = MAX_MEASURED[device.type] / (FORWARDS_A_STEP * per_image)
    batch_size = int(min(run.recipe.batch_size, max(2, limit)))
    size = run.data.image_size
    net = make_net(run, 10).to(device).to(memory_format=torch.channels_last)
    if (fused := compiled_norm_relu(run, device)) is not None:
        net.compute_by(fused)
    recompute(net, layer_costs(net, size), run)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)
    images = torch.rand(batch_size, 3, size, size, device=device).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    seconds = []
    for _ in range(1 + TIMED_STEPS):
        began = time.monotonic()
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad(set_to_none=not keeps_gradients(net))
        loss.backward()
        optimizer.step()
        loss.item()  # wait until the device is done
        seconds.append(time.monotonic() - began)
    return batch_size, min(seconds[1:])


def print_plan(study: Study, console: Console) -> None:
    """Print every run of a study, how far it is, and what is left of it; run nothing."""
    costs, images, measured = plan_costs(study)
    title = escape(study.drawing.title or study.name)
    table = Table(title=f"{title}: what would be run")
    table.add_column("part", justify="right")
    table.add_column("run", no_wrap=True)
    for column in ("state", "iterations", "multiply-adds", "time"):
        table.add_column(column, justify="right")
    for part, cost in enumerate(costs, 1):
        table.add_row(
            str(part),
            study.name_of(cost.run).replace(" (", "\n("),
            cost.state,
            f"{cost.iterations:,}",
            f"{cost.multiply_adds:.1e}" if cost.seconds is not None else "-",
            "-" if cost.seconds is None else duration(cost.seconds),
        )
    left = [cost for cost in costs if cost.seconds is not None]
    table.add_section()
    total = sum(cost.seconds or 0.0 for cost in left)
    table.add_row(
        "",
        f"{len(left)} of {len(costs)} runs left",
        "",
        "",
        f"{sum(cost.multiply_adds for cost in left):.1e}" if left else "-",
        duration(total),
    )
    console.print(table)
    device = choose_device(study.runs[0])
    where = on_cpu(torch.get_num_threads()) if device.type == "cpu" else str(device)
    notes = [f"Time: one run after another on {where}, as fast as {measured}"] if left else []
    if images.problem:
        notes.append(
            f"Evaluations are not counted: {data_name(study.runs[0])} is not in "
            f"{study.runs[0].data.root} yet"
        )
    notes.append(f"Figures, table and report will be in {study.folder}")
    for note in notes:
        console.print(note, highlight=False, markup=False)


def duration(seconds: float) -> str:
    """A time for people, in two units at most."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
