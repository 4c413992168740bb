"""Estimates the cost of a study's runs from multiply-adds and the time of a few training steps."""

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from statistics import median
from tempfile import TemporaryDirectory

import torch

from resnet_degradation.config.durations import parse_duration
from resnet_degradation.config.identity import data_name, distinct_names, net_key, run_folder
from resnet_degradation.config.schema import USER_DATA, Config
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.distributed.world import World
from resnet_degradation.nets.activation_checkpointing import activation_bytes
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.cost import LayerCost, layer_costs
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.execute import with_share_of_threads
from resnet_degradation.system.errors import DataError
from resnet_degradation.system.process import describe_threads
from resnet_degradation.system.worker import init_worker
from resnet_degradation.training.build import choose_device, prepare
from resnet_degradation.training.launch import num_processes
from resnet_degradation.training.memory import uses_activation_checkpointing
from resnet_degradation.training.schedule import make_plan
from resnet_degradation.training.step import num_slow_steps, training_steps

# A training step is a forward pass, and a backward pass that costs twice as much.
FORWARDS_PER_STEP = 3

# A timed step has at most this many multiply-adds, so that it takes at most about a second, and
# little memory. Larger batches are reduced.
MAX_MULTIPLY_ADDS = {"cpu": 2e10, "mps": 1e11, "cuda": 1e12}
TIMED_STEPS = 5

# Nets are timed for about this many seconds, the cheapest first. The others are assumed to take
# as long per multiply-add as the last net that was timed.
SECONDS_OF_TIMING = 10.0


@dataclass(frozen=True)
class Cost:
    """The remaining cost of one run.

    state: "finished", "at 12,000" or "to do". multiply_adds: of training and evaluations.
    seconds: estimated from the fastest, the median and the slowest timed step.
    """

    run: Config
    iterations: int
    state: str
    multiply_adds: float = 0.0
    seconds: tuple[float, ...] = (0.0, 0.0, 0.0)


def run_cost(run: Config) -> float:
    """A cost for comparing runs of one recipe: multiply-adds per image, times iterations."""
    return image_cost(run) * parse_duration(run.recipe.iterations, "recipe.iterations")[0]


def image_cost(run: Config, num_classes: int = 10) -> int:
    """The multiply-adds of one image in a forward pass of a run's net."""
    return sum(layer.multiply_adds for layer in _layers(run, num_classes))


def _layers(run: Config, num_classes: int = 10) -> list[LayerCost]:
    with torch.device("meta"):
        net = make_net(run, num_classes, initialized=False)
    return layer_costs(net, run.data.image_size)


def plan_costs(study: Study, jobs: int = 1) -> tuple[list[Cost], list[str]]:
    """The remaining cost of every run, and notes on how it was measured.

    jobs: how many runs train at once, which slows each of them.

    Raises DataError if custom images are missing, or if built-in ones are not downloaded and the
    length is given in epochs.
    """
    first, source, notes = study.runs[0], None, []
    try:
        source = load_source(replace(first.data, download=False))
    except DataError as error:
        if first.data.name in USER_DATA or first.data.loader is not None:
            raise  # no run will download them
        if parse_duration(first.recipe.iterations, "recipe.iterations")[1]:
            raise DataError(f"recipe.iterations is given in epochs, but {error}") from error
        missing = f"{data_name(first)} is not in {first.data.root} yet"
        notes.append(f"Evaluations are not counted: {missing}")
    num_classes = 10 if source is None else len(source.classes)
    lengths = [_length(run, source) for run in study.runs]
    per_image = {net_key(run): image_cost(run, num_classes) for run in study.runs}
    speeds: dict[str, list[float]] = {}
    if pending := study.pending():
        speeds, measured = measure_speeds(pending, per_image, num_classes, jobs)
        notes = measured + notes
    costs = []
    for run, (iterations, evaluated) in zip(study.runs, lengths, strict=True):
        if is_finished(run_folder(run)):
            costs.append(Cost(run, iterations, "finished"))
            continue
        done = last_checkpoint_iteration(run_folder(run))
        images = FORWARDS_PER_STEP * run.recipe.batch_size * iterations + evaluated
        work = per_image[net_key(run)] * images * (1 - done / iterations)
        seconds = tuple(work * speed for speed in speeds[net_key(run)])
        costs.append(Cost(run, iterations, f"at {done:,}" if done else "to do", work, seconds))
    return costs, notes


def _length(run: Config, source: Source | None) -> tuple[int, int]:
    """The iterations of a run, and the number of images of its evaluations."""
    if source is None:
        return int(run.recipe.iterations), 0
    num_held_out = sum(len(images) for images in source.held_out.values())
    plan = make_plan(run, len(source.train), num_held_out)
    # Plus one pass over the images, for the layer responses at the end.
    num_evaluations = math.ceil(plan.num_iterations / plan.eval_every) + 1
    return plan.num_iterations, num_held_out * num_evaluations


def measure_speeds(
    runs: list[Config], per_image: dict[str, int], num_classes: int, jobs: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Seconds per multiply-add by net key (fastest, median, slowest step), and notes on them.

    per_image: multiply-adds, by net key. Steps are timed with the runs' own settings, in as many
    processes as would train at once.
    """
    devices = num_processes(runs[0])
    distinct = {net_key(run): run for run in runs}
    names = dict(zip(distinct, distinct_names([*distinct.values()]), strict=True))
    speeds: dict[str, list[float]] = {}
    measured: list[str] = []
    spent = 0.0
    num_at_once = min(jobs, len(runs)) * devices
    with step_timer(num_at_once) as time_steps:
        for net in sorted(distinct, key=lambda net: per_image[net]):
            if spent >= SECONDS_OF_TIMING:
                speeds[net] = list(speeds.values())[-1]
                continue
            sample = sample_of(distinct[net], jobs * devices)
            batch_size = sample.recipe.batch_size
            steps = time_steps(sample, num_classes)
            work = FORWARDS_PER_STEP * per_image[net] * batch_size * devices
            speeds[net] = [step / work for step in (min(steps), median(steps), max(steps))]
            measured.append(f"{names[net]} ({median(steps):.2g} s for {batch_size} images)")
            spent += sum(steps) / num_at_once
    if len(measured) < len(distinct):
        measured.append("the others by multiply-adds")
    return speeds, _notes(runs[0], sample, jobs, ", ".join(measured))


def _notes(run: Config, sample: Config, jobs: int, measured: str) -> list[str]:
    """How the runs were timed, and what their times leave out."""
    device, devices = choose_device(sample).type, num_processes(run)
    if device == "cpu":
        device = describe_threads(sample.runtime.num_threads or torch.get_num_threads())
    if devices > 1:
        device = f"{devices} processes, each with its share of a batch on {device}"
    order = f"{jobs} runs at once, each" if jobs > 1 else "one run after another"
    notes = [
        f"Time: {order} on {device}, {run.runtime.precision}; as fast as the median of "
        f"{TIMED_STEPS} training steps on random images: {measured}"
    ]
    if devices > 1:
        notes.append("Not counted: the time that processes take to average their gradients")
    if run.recipe.augmentation == "scale-jitter":
        notes.append("Not counted: reading images from files, if that is slower than training")
    return notes


def sample_of(run: Config, num_at_once: int) -> Config:
    """The configuration to time for one of `num_at_once` processes of a run.

    It differs from the run's in lengths, and in augmentation that needs image files.
    """
    device, devices, layers = choose_device(run), num_processes(run), _layers(run)
    per_image = sum(layer.multiply_adds for layer in layers)
    limit = MAX_MULTIPLY_ADDS[device.type] / (FORWARDS_PER_STEP * per_image)
    # Decided for the whole batch: the batch of the sample may be smaller.
    recomputes = uses_activation_checkpointing(
        run, activation_bytes(layers), device, World(size=devices, local_size=devices)
    )
    return replace(
        run,
        weights=None,
        weights_digest=None,
        extends=None,
        recipe=replace(
            run.recipe,
            batch_size=int(min(run.recipe.batch_size // devices, max(2, limit))),
            iterations=1 + TIMED_STEPS,
            schedule="milestones",
            milestones=[],
            augmentation="pad-crop" if run.recipe.augmentation == "pad-crop" else "none",
        ),
        runtime=replace(
            with_share_of_threads(run, num_at_once).runtime,
            checkpoint_activations="on" if recomputes else "off",
        ),
    )


_BARRIER: list[Barrier] = []  # set in a process that times steps together with other processes


def time_steps(sample: Config, num_classes: int) -> list[float]:
    """The seconds of each of TIMED_STEPS training steps on random images.

    The first steps are slower and are not timed. After them, processes wait for each other.
    """
    size = sample.data.image_size
    images = torch.randint(256, (sample.recipe.batch_size, 3, size, size), dtype=torch.uint8)
    arrays = Arrays(images, torch.arange(len(images)) % num_classes)
    source = Source(arrays, {"val": arrays}, [str(number) for number in range(num_classes)])
    with TemporaryDirectory() as empty:
        run = prepare(replace(sample, output_dir=empty), source=source)
    run.net.train()
    ends: list[float] = []
    num_slow = num_slow_steps(run)
    with closing(training_steps(run, 0, num_slow + TIMED_STEPS)) as steps:
        for number, step in enumerate(steps, 1):
            step(0.0)
            run.meter.totals.tolist()  # waits until the device has done the step
            if number < num_slow:
                continue
            if number == num_slow:
                for barrier in _BARRIER:
                    barrier.wait()
            ends.append(time.monotonic())
    return [end - start for start, end in pairwise(ends)]


@contextmanager
def step_timer(num_at_once: int) -> Iterator[Callable[[Config, int], list[float]]]:
    """A function that times steps in this process, or in `num_at_once` processes together."""
    if num_at_once == 1:
        yield time_steps
        return
    spawn = multiprocessing.get_context("spawn")
    barrier, slots = spawn.Barrier(num_at_once), spawn.SimpleQueue()
    for slot in range(num_at_once):
        slots.put(slot)

    def time_together(sample: Config, num_classes: int) -> list[float]:
        # Each process takes one task, because all wait for each other at the barrier.
        futures = [pool.submit(time_steps, sample, num_classes) for _ in range(num_at_once)]
        finished, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        if waiting:
            barrier.abort()
        return [seconds for future in finished for seconds in future.result()]

    with ProcessPoolExecutor(num_at_once, spawn, _init_timer, (slots, barrier)) as pool:
        yield time_together


def _init_timer(slots: "SimpleQueue[int]", barrier: Barrier) -> None:
    init_worker(slots.get())
    _BARRIER.append(barrier)
