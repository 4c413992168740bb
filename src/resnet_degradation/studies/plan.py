"""The cost of a study before it runs: multiply-adds, and time from a short measurement."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnet_degradation.config.durations import parse_duration
from resnet_degradation.config.identity import data_name, distinct_names, net_key, run_folder
from resnet_degradation.config.schema import USER_DATA, Config
from resnet_degradation.config.validate import check_processes
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.cost import multiply_adds
from resnet_degradation.records.run_folder import last_checkpoint
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies import timing
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.execute import check_jobs, waves
from resnet_degradation.studies.timing import FORWARDS_A_STEP
from resnet_degradation.system.errors import DataError
from resnet_degradation.system.process import describe_threads, load_of_others
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.launch import check_devices, num_processes
from resnet_degradation.training.plan import make_plan

# Nets are measured for about so many seconds, the cheapest first; the others are assumed to take
# as long per multiply-add.
SECONDS_OF_MEASURING = 10.0

# Steps agree if the slowest takes at most this many times as long as the fastest.
STEPS_AGREE = 1.2


@dataclass(frozen=True)
class Cost:
    """The remaining cost of one run.

    state: "finished", "at 12,000" or "to do". multiply_adds: of training and evaluations.
    seconds: by the median of the timed steps, None for a finished run. between: by the fastest
    and by the slowest step.
    """

    run: Config
    iterations: int
    state: str
    multiply_adds: float
    seconds: float | None
    between: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Images:
    """Numbers of images; num_train is None where they are not downloaded yet, see `problem`."""

    num_train: int | None
    num_held_out: int
    num_classes: int
    problem: str = ""


def run_cost(run: Config) -> float:
    """A cost to compare runs of one recipe with: multiply-adds per image, times the length."""
    return image_cost(run) * parse_duration(run.recipe.iterations, "recipe.iterations")[0]


def image_cost(run: Config, num_classes: int = 10) -> int:
    """The multiply-adds of one image in a forward pass of a run's net."""
    with torch.device("meta"):
        net = make_net(run, num_classes, initialised=False)
    return multiply_adds(net, run.data.image_size)


def count_images(run: Config) -> Images:
    """Count the images of a run without a download; DataError if custom images are missing."""
    try:
        source = load_source(replace(run.data, download=False))
    except DataError as error:
        if run.data.name in USER_DATA or run.data.loader is not None:
            raise  # no run will download them
        return Images(None, 0, 10, str(error))
    held_out = sum(len(images) for images in source.held_out.values())
    return Images(len(source.train), held_out, len(source.classes))


def plan_costs(study: Study, jobs: int = 1) -> tuple[list[Cost], Images, str]:
    """The remaining cost of every run, the numbers of images, and how time was measured.

    jobs: how many runs train at once, which slows each of them.

    Raises DataError if custom images are missing, or if others are not downloaded and the length
    is given in epochs; ConfigError for devices or jobs that cannot be used.
    """
    images = count_images(study.runs[0])
    _, in_epochs = parse_duration(study.runs[0].recipe.iterations, "recipe.iterations")
    if images.num_train is None and in_epochs:
        raise DataError(f"recipe.iterations is given in epochs, but {images.problem}")
    per_image = {net_key(run): image_cost(run, images.num_classes) for run in study.runs}
    lengths = [_steps_and_evaluated(run, images) for run in study.runs]
    speeds, measured = measure_speeds(study.pending(), per_image, images.num_classes, jobs)
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
        seconds = [work * step for step in speeds[net_key(run)]]
        between = (min(seconds), max(seconds))
        costs.append(Cost(run, iterations, state, work, median(seconds), between))
    return costs, images, measured


def _steps_and_evaluated(run: Config, images: Images) -> tuple[int, float]:
    """The iterations of a run, and the number of images of its evaluations."""
    if images.num_train is None:
        return int(run.recipe.iterations), 0.0
    plan = make_plan(run, images.num_train, images.num_held_out)
    # And once more, for the layer responses at the end.
    return plan.num_iterations, images.num_held_out * (
        -(-plan.num_iterations // plan.eval_every) + 1
    )


def measure_speeds(
    runs: list[Config], per_image: dict[str, int], num_classes: int, jobs: int
) -> tuple[dict[str, list[float]], str]:
    """Seconds per multiply-add of each timed step, by net key, and a text on what was measured.

    per_image: multiply-adds, by net key. Steps are timed with the runs' own settings, in as many
    processes as would train at once.
    """
    if not runs:
        return {}, ""
    check_jobs(runs[0], jobs)
    devices = num_processes(runs[0])
    if devices > 1:
        check_processes(runs[0], devices)
        check_devices(runs[0], devices)
    distinct = {net_key(run): run for run in runs}
    names = dict(zip(distinct, distinct_names([*distinct.values()]), strict=True))
    speeds: dict[str, list[float]] = {}
    measured: list[str] = []
    spent = 0.0
    num_at_once = min(jobs, len(runs)) * devices
    with timing.step_timer(num_at_once) as time_steps:
        for net in sorted(distinct, key=lambda net: per_image[net]):
            if spent >= SECONDS_OF_MEASURING:
                speeds[net] = list(speeds.values())[-1]
                continue
            sample = timing.sample_of(distinct[net], per_image[net], jobs * devices)
            batch_size = sample.recipe.batch_size
            steps = time_steps(sample, num_classes)
            work = FORWARDS_A_STEP * per_image[net] * batch_size * devices
            speeds[net] = [step / work for step in steps]
            fastest, slowest = min(steps), max(steps)
            step = f"{median(steps):.2g}"
            if not agree(fastest, slowest):
                step = f"{fastest:.2g} to {slowest:.2g}"
            measured.append(f"{names[net]} ({step} s for {batch_size} images)")
            spent += sum(steps) / num_at_once
    rest = ", the others by multiply-adds" if len(measured) < len(distinct) else ""
    return speeds, f"{', '.join(measured)}{rest}"


def agree(fastest: float, slowest: float) -> bool:
    """Whether two times are so close that the median is enough."""
    return slowest <= STEPS_AGREE * fastest


def total_seconds(costs: list[Cost], jobs: int, of_run: Callable[[Cost], float]) -> float:
    """The seconds that all runs take if each idle process starts the next; see execute.py."""
    left = {run_folder(cost.run): of_run(cost) for cost in costs}
    total = 0.0
    for wave in waves([cost.run for cost in costs]):
        idle_at = [0.0] * jobs
        for run in wave:
            heapq.heappush(idle_at, heapq.heappop(idle_at) + left[run_folder(run)])
        total += max(idle_at)
    return total


def print_plan(study: Study, console: Console, jobs: int = 1) -> None:
    """Print every run of a study, its progress and its remaining cost; train nothing."""
    busy = load_of_others()  # before the measurement loads the machine
    costs, images, measured = plan_costs(study, jobs)
    title = escape(study.drawing.title or study.name)
    table = Table(title=f"{title}: what would be run")
    table.add_column("part", justify="right")
    table.add_column("run", overflow="fold", min_width=9)
    for column in ("state", "iterations", "mult-adds", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for part, cost in enumerate(costs, 1):
        name = study.name_of(cost.run).replace(" (", "\n(")
        remaining = ["-", "-"]
        if cost.seconds is not None:
            remaining = [f"{cost.multiply_adds:.1e}", duration(cost.seconds)]
        table.add_row(str(part), name, cost.state, f"{cost.iterations:,}", *remaining)
    left = [cost for cost in costs if cost.seconds is not None]
    table.add_section()
    total = total_seconds(left, jobs, lambda cost: cost.seconds or 0.0)
    fastest = total_seconds(left, jobs, lambda cost: cost.between[0])
    slowest = total_seconds(left, jobs, lambda cost: cost.between[1])
    disagree = not agree(fastest, slowest)
    between = f"\n({time_range(fastest, slowest)})" if disagree else ""
    work = f"{sum(cost.multiply_adds for cost in left):.1e}" if left else "-"
    table.add_row(
        "", f"{len(left)} of {len(costs)} runs left", "", "", work, duration(total) + between
    )
    console.print(table)
    notes = _notes_on_time(left[0].run, jobs, measured, disagree, busy) if left else []
    if images.problem:
        notes.append(
            f"Evaluations are not counted: {data_name(study.runs[0])} is not in "
            f"{study.runs[0].data.root} yet"
        )
    notes.append(f"Figures, table and report will be in {study.folder}")
    for note in notes:
        console.print(note, highlight=False, markup=False)


def _notes_on_time(run: Config, jobs: int, measured: str, disagree: bool, busy: str) -> list[str]:
    """How the times of a plan were measured, and what they leave out."""
    devices = num_processes(run)
    sample = timing.sample_of(run, image_cost(run), jobs * devices)
    device = choose_device(sample)
    where = (
        describe_threads(sample.runtime.num_threads or torch.get_num_threads())
        if device.type == "cpu"
        else device.type
    )
    order = f"{jobs} runs at once, each" if jobs > 1 else "one run after another"
    shared = f"{devices} processes, each with its share of a batch on " if devices > 1 else ""
    notes = [
        f"Time: {order} on {shared}{where}, {run.runtime.precision}; as fast as the median of "
        f"{timing.TIMED_STEPS} training steps on random images: {measured}"
    ]
    if disagree:
        notes.append("In brackets: the range from the fastest to the slowest step")
    if busy:
        notes.append(f"{busy[0].upper()}{busy[1:]}: without it, runs are faster than measured now")
    if devices > 1:
        notes.append("Not counted: what processes spend on averaging their gradients")
    if run.recipe.augmentation == "scale-jitter":
        notes.append("Not counted: what reading images from files takes, where that is slower")
    return notes


def duration(seconds: float) -> str:
    """A time as text, as in "7 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def time_range(shortest: float, longest: float) -> str:
    """A range of times as text, as in "7 to 10 min"."""
    (first, unit), (last, last_unit) = duration(shortest).split(), duration(longest).split()
    return f"{first}{'' if unit == last_unit else f' {unit}'} to {last} {last_unit}"
