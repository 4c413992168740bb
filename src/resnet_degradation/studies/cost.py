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
from resnet_degradation.config.schema import USER_DATA_NAMES, Config
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.distributed.world import World
from resnet_degradation.nets.activation_checkpointing import activation_bytes
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.cost import LayerCost, layer_costs
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.execute import with_thread_share
from resnet_degradation.system.errors import DataError
from resnet_degradation.system.process import describe_threads
from resnet_degradation.system.worker import init_worker
from resnet_degradation.training.build import choose_device, prepare
from resnet_degradation.training.launch import num_processes
from resnet_degradation.training.memory import uses_activation_checkpointing
from resnet_degradation.training.schedule import make_plan
from resnet_degradation.training.step import num_slow_steps, training_steps

# A training step costs as much as three forward passes: a backward pass costs two.
FORWARD_PASSES_PER_STEP = 3

# The maximal number of multiply-adds of a timed step, so that it takes about a second at most, and
# little memory. Larger batches are reduced.
MAX_MULTIPLY_ADDS = {"cpu": 2e10, "mps": 1e11, "cuda": 1e12}
TIMED_STEPS = 5

# Nets are timed for about this many seconds, the cheapest first. All others are assumed to take as
# long per multiply-add as the last timed net.
TIMING_BUDGET_SECONDS = 10.0


@dataclass(frozen=True)
class Cost:
    """The remaining cost of one run."""

    run: Config
    iterations: int  # of the whole run
    state: str  # "finished", "at 12,000" (iterations) or "to do"
    multiply_adds: float = 0.0  # of the remaining training and evaluations
    seconds: tuple[float, ...] = (0.0, 0.0, 0.0)  # with the fastest, median and slowest timed step


def run_cost(run: Config) -> float:
    """The multiply-adds per image times the iterations, to compare runs of the same recipe."""
    return image_cost(run) * parse_duration(run.recipe.iterations, "recipe.iterations")[0]


def image_cost(run: Config, num_classes: int = 10) -> int:
    """The multiply-adds of a forward pass of a run's net, per image."""
    return sum(layer.multiply_adds for layer in _layers(run, num_classes))


def _layers(run: Config, num_classes: int = 10) -> list[LayerCost]:
    with torch.device("meta"):
        net = make_net(run, num_classes, initialized=False)
    return layer_costs(net, run.data.image_size)


def plan_costs(study: Study, jobs: int = 1) -> tuple[list[Cost], list[str]]:
    """The remaining cost of every run, and notes on how it was measured.

    jobs: number of runs that train in parallel, which slows each of them.

    Raises DataError if custom images are missing, or if built-in ones are not downloaded but needed
    because the length is given in epochs.
    """
    first, source, notes = study.runs[0], None, []
    try:
        source = load_source(replace(first.data, download=False))
    except DataError as error:
        if first.data.name in USER_DATA_NAMES or first.data.loader is not None:
            raise  # training cannot download these images
        if parse_duration(first.recipe.iterations, "recipe.iterations")[1]:
            raise DataError(f"recipe.iterations is given in epochs, but {error}") from error
        missing = f"{data_name(first)} is not in {first.data.root} yet"
        notes.append(f"Evaluations are not counted: {missing}")
    num_classes = 10 if source is None else len(source.classes)
    lengths = [_count_iterations_and_images(run, source) for run in study.runs]
    image_costs = {net_key(run): image_cost(run, num_classes) for run in study.runs}
    seconds_per_operation: dict[str, list[float]] = {}
    if pending := study.unfinished_runs():
        seconds_per_operation, timing_notes = measure_seconds_per_operation(
            pending, image_costs, num_classes, jobs
        )
        notes = timing_notes + notes
    costs = []
    for run, (iterations, num_evaluated_images) in zip(study.runs, lengths, strict=True):
        if is_finished(run_folder(run)):
            costs.append(Cost(run, iterations, "finished"))
            continue
        done = last_checkpoint_iteration(run_folder(run))
        num_forward_passes = (
            FORWARD_PASSES_PER_STEP * run.recipe.batch_size * iterations + num_evaluated_images
        )
        multiply_adds = image_costs[net_key(run)] * num_forward_passes * (1 - done / iterations)
        seconds = tuple(multiply_adds * per_one for per_one in seconds_per_operation[net_key(run)])
        state = f"at {done:,}" if done else "to do"
        costs.append(Cost(run, iterations, state, multiply_adds, seconds))
    return costs, notes


def _count_iterations_and_images(run: Config, source: Source | None) -> tuple[int, int]:
    """The number of iterations of a run, and the number of images in all its evaluations."""
    if source is None:  # the images are not downloaded
        return int(run.recipe.iterations), 0
    num_held_out = sum(len(images) for images in source.held_out.values())
    plan = make_plan(run, len(source.train), num_held_out)
    # The layer responses at the end take one more pass over the images.
    num_evaluations = math.ceil(plan.num_iterations / plan.eval_every) + 1
    return plan.num_iterations, num_held_out * num_evaluations


def measure_seconds_per_operation(
    runs: list[Config], image_costs: dict[str, int], num_classes: int, jobs: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Time training steps with the settings of the runs, in as many processes as would train.

    Returns the seconds per multiply-add of the fastest, median and slowest step, keyed by net, and
    notes on the measurement.

    image_costs: multiply-adds per image, keyed by net.
    """
    num_devices = num_processes(runs[0])
    distinct = {net_key(run): run for run in runs}
    names = dict(zip(distinct, distinct_names([*distinct.values()]), strict=True))
    seconds_per_operation: dict[str, list[float]] = {}
    timed_nets: list[str] = []
    timed_seconds = 0.0
    num_concurrent = min(jobs, len(runs)) * num_devices
    with step_timer(num_concurrent) as time_steps:
        for net in sorted(distinct, key=lambda net: image_costs[net]):
            if timed_seconds >= TIMING_BUDGET_SECONDS:
                seconds_per_operation[net] = list(seconds_per_operation.values())[-1]
                continue
            sample = timing_config(distinct[net], jobs * num_devices)
            batch_size = sample.recipe.batch_size
            step_seconds = time_steps(sample, num_classes)
            typical = median(step_seconds)
            step_cost = FORWARD_PASSES_PER_STEP * image_costs[net] * batch_size * num_devices
            seconds_per_operation[net] = [
                seconds / step_cost for seconds in (min(step_seconds), typical, max(step_seconds))
            ]
            timed_nets.append(f"{names[net]} ({typical:.2g} s for {batch_size} images)")
            timed_seconds += sum(step_seconds) / num_concurrent
    if len(timed_nets) < len(distinct):
        timed_nets.append("the others by multiply-adds")
    return seconds_per_operation, _timing_notes(runs[0], sample, jobs, ", ".join(timed_nets))


def _timing_notes(run: Config, sample: Config, jobs: int, timed_nets: str) -> list[str]:
    """Notes on how the runs were timed, and on what the times do not include."""
    device, num_devices = choose_device(sample).type, num_processes(run)
    if device == "cpu":
        device = describe_threads(sample.runtime.num_threads or torch.get_num_threads())
    if num_devices > 1:
        device = f"{num_devices} processes, each with its share of a batch on {device}"
    order = f"{jobs} runs at once, each" if jobs > 1 else "one run after another"
    notes = [
        f"Time: {order} on {device}, {run.runtime.precision}; estimated from the median of "
        f"{TIMED_STEPS} training steps on random images: {timed_nets}"
    ]
    if num_devices > 1:
        notes.append("Not counted: the time that processes take to average their gradients")
    if run.recipe.augmentation == "scale-jitter":
        notes.append("Not counted: reading images from files, if that is slower than training")
    return notes


def timing_config(run: Config, num_concurrent: int) -> Config:
    """The configuration with which one of `num_concurrent` processes times the steps of a run.

    It has few iterations and small batches, and no augmentation that needs image files.
    """
    device, num_devices, layers = choose_device(run), num_processes(run), _layers(run)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    limit = MAX_MULTIPLY_ADDS[device.type] / (FORWARD_PASSES_PER_STEP * multiply_adds)
    # Decide this for the batch of the run, because the timed batch may be smaller.
    recomputes = uses_activation_checkpointing(
        run, activation_bytes(layers), device, World(size=num_devices, local_size=num_devices)
    )
    return replace(
        run,
        weights=None,
        weights_digest=None,
        extends=None,
        recipe=replace(
            run.recipe,
            batch_size=int(min(run.recipe.batch_size // num_devices, max(2, limit))),
            iterations=1 + TIMED_STEPS,
            schedule="milestones",
            milestones=[],
            augmentation="pad-crop" if run.recipe.augmentation == "pad-crop" else "none",
        ),
        runtime=replace(
            with_thread_share(run, num_concurrent).runtime,
            checkpoint_activations="on" if recomputes else "off",
        ),
    )


_BARRIER: list[Barrier] = []  # not empty in a process that times steps together with others


def time_steps(sample: Config, num_classes: int) -> list[float]:
    """Time TIMED_STEPS training steps on random images; return the seconds of each.

    The first, slower steps are not timed. After them, processes wait for each other.
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
            run.meter.totals.tolist()  # waits until the device has finished the step
            if number < num_slow:
                continue
            if number == num_slow:
                for barrier in _BARRIER:
                    barrier.wait()
            ends.append(time.monotonic())
    return [end - start for start, end in pairwise(ends)]


@contextmanager
def step_timer(num_concurrent: int) -> Iterator[Callable[[Config, int], list[float]]]:
    """Yield a function that times steps in `num_concurrent` processes; one is this process."""
    if num_concurrent == 1:
        yield time_steps
        return
    spawn = multiprocessing.get_context("spawn")
    barrier, slots = spawn.Barrier(num_concurrent), spawn.SimpleQueue()
    for slot in range(num_concurrent):
        slots.put(slot)

    def time_together(sample: Config, num_classes: int) -> list[float]:
        # Each process runs one task, because all tasks wait for each other at the barrier.
        futures = [pool.submit(time_steps, sample, num_classes) for _ in range(num_concurrent)]
        finished, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        if waiting:
            barrier.abort()
        return [seconds for future in finished for seconds in future.result()]

    with ProcessPoolExecutor(num_concurrent, spawn, _init_timer, (slots, barrier)) as pool:
        yield time_together


def _init_timer(slots: "SimpleQueue[int]", barrier: Barrier) -> None:
    init_worker(slots.get())
    _BARRIER.append(barrier)
