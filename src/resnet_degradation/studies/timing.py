"""Timed training steps, with the settings of a study's runs and as many processes at once."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from tempfile import TemporaryDirectory

import torch

from resnet_degradation.config.schema import Config
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.distributed.world import World
from resnet_degradation.nets.activation_checkpointing import activation_bytes
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.cost import layer_costs
from resnet_degradation.studies.execute import init_worker, with_share_of_threads
from resnet_degradation.training.build import choose_device, forward_function, prepare
from resnet_degradation.training.launch import num_processes
from resnet_degradation.training.loop import update
from resnet_degradation.training.memory import uses_activation_checkpointing

# A training step is a forward pass, and a backward pass that costs twice as much.
FORWARDS_A_STEP = 3

# The most multiply-adds of a timed step, so that it takes a second or less and little memory.
# Larger batches are reduced to this.
MAX_MULTIPLY_ADDS = {"cpu": 2e10, "cuda": 1e12}
TIMED_STEPS = 5

# (configuration, number of classes) -> seconds of each timed step in every process
TimeSteps = Callable[[Config, int], list[float]]


def sample_of(run: Config, per_image: int, num_at_once: int) -> Config:
    """The configuration to time for one of `num_at_once` processes of a run.

    It differs from the run's in lengths, and in augmentation that needs image files.
    per_image: the multiply-adds of one image in a forward pass.
    """
    device, devices = choose_device(run), num_processes(run)
    share = run.recipe.batch_size // devices
    limit = MAX_MULTIPLY_ADDS[device.type] / (FORWARDS_A_STEP * per_image)
    runtime = with_share_of_threads(run, num_at_once).runtime if num_at_once > 1 else run.runtime
    recipe = run.recipe
    return replace(
        run,
        weights=None,
        weights_digest=None,
        extends=None,
        recipe=replace(
            recipe,
            batch_size=int(min(share, max(2, limit))),
            iterations=1 + TIMED_STEPS,
            schedule="milestones",
            milestones=[],
            augmentation="pad-crop" if recipe.augmentation == "pad-crop" else "none",
        ),
        runtime=replace(
            runtime,
            devices=1,
            sync_batchnorm=False,
            checkpoint_activations="on" if _recomputes(run, device, devices) else "off",
            log_every=None,
            eval_every=None,
            checkpoint_every=None,
            signals_every=None,
        ),
    )


def _recomputes(run: Config, device: torch.device, devices: int) -> bool:
    """Whether the run, with its whole batch, uses activation checkpointing."""
    with torch.device("meta"):
        net = make_net(run, num_classes=10, initialised=False)
    stages = activation_bytes(layer_costs(net, run.data.image_size))
    return uses_activation_checkpointing(
        run, stages, device, World(size=devices, local_size=devices)
    )


def time_steps(
    sample: Config, num_classes: int, together: Callable[[], object] = lambda: None
) -> list[float]:
    """The seconds of each of TIMED_STEPS training steps on random images.

    The first step is slower and not timed. together: waits for the other processes.
    """
    with TemporaryDirectory() as empty:
        run = prepare(replace(sample, output_dir=empty), source=_random_images(sample, num_classes))
    forward = forward_function(run)
    run.net.train()
    ends: list[float] = []
    with closing(run.batches.training(0, 1 + TIMED_STEPS)) as batches:
        for images, labels in batches:
            update(run, forward, images, labels, lr=0.0)
            run.meter.totals.tolist()  # waits until the device has done the step
            if not ends:
                together()
            ends.append(time.monotonic())
    return [end - start for start, end in pairwise(ends)]


def _random_images(sample: Config, num_classes: int) -> Source:
    size = sample.data.image_size
    images = torch.randint(256, (sample.recipe.batch_size, 3, size, size), dtype=torch.uint8)
    arrays = Arrays(images, torch.arange(len(images)) % num_classes)
    return Source(arrays, {"val": arrays}, [str(number) for number in range(num_classes)])


@contextmanager
def step_timer(num_at_once: int) -> Iterator[TimeSteps]:
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
        futures = [pool.submit(_time_in_worker, sample, num_classes) for _ in range(num_at_once)]
        finished, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        if waiting:
            barrier.abort()
        return [seconds for future in finished for seconds in future.result()]

    with ProcessPoolExecutor(num_at_once, spawn, _init_worker, (slots, barrier)) as pool:
        yield time_together


_BARRIER: list[Barrier] = []  # of a worker process


def _init_worker(slots: "SimpleQueue[int]", barrier: Barrier) -> None:
    init_worker(slots.get())
    _BARRIER.append(barrier)


def _time_in_worker(sample: Config, num_classes: int) -> list[float]:
    return time_steps(sample, num_classes, _BARRIER[0].wait)
