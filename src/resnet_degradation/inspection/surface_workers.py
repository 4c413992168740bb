"""Measures the points of a loss surface in parallel processes."""

import math
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path

from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.data.batches import Batch
from resnet_degradation.inspection.probe import Subject
from resnet_degradation.probes.surface import SurfacePoint, measure_surface
from resnet_degradation.system.errors import RecordError
from resnet_degradation.system.process import num_cpus
from resnet_degradation.system.worker import init_pool_worker
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.load_run import load_run_config, load_trained_net
from resnet_degradation.training.torch_settings import set_arithmetic

# In a worker process: the net to measure, and the images.
_LOADED: list[tuple[Subject, list[Batch]]] = []


def surface_batches(subject: Subject) -> list[Batch]:
    """Load the augmented training images on which the surface is measured."""
    batch_size = subject.trained.config.recipe.batch_size
    return subject.training_batches(math.ceil(subject.options.images / batch_size))


def measure_in_parallel(
    subject: Subject, points: list[tuple[float, float]]
) -> Iterator[SurfacePoint]:
    """Measure these points, in order, in `options.jobs` processes.

    Each process loads the net and the images. Raises RecordError if the run was trained further in
    the meantime, or if a process dies.
    """
    options, trained = subject.options, subject.trained
    threads = options.runtime.num_threads or max(1, num_cpus() // options.jobs)
    options = replace(options, runtime=replace(options.runtime, num_threads=threads))
    spawn = multiprocessing.get_context("spawn")
    slots = spawn.SimpleQueue()
    for slot in range(options.jobs):
        slots.put(slot)
    measure = partial(_measure_point, trained.folder, trained.iteration, options)
    try:
        with ProcessPoolExecutor(options.jobs, spawn, init_pool_worker, (slots,)) as executor:
            yield from executor.map(measure, points)
    except BrokenProcessPool as error:
        raise RecordError(
            "a process that measures the loss surface ended unexpectedly, perhaps because memory "
            "ran out: repeat the command to continue, with fewer jobs if necessary"
        ) from error


def _measure_point(
    folder: Path, iteration: int, options: InspectionConfig, point: tuple[float, float]
) -> SurfacePoint:
    if not _LOADED:
        set_arithmetic("fp32")
        device = choose_device(load_run_config(folder, options.runtime))
        trained = load_trained_net(folder, options.runtime, device, num_held_out=1)
        if trained.iteration != iteration:
            raise RecordError(f"{folder} was trained further in the meantime: inspect it again")
        subject = Subject(trained, options, lambda *_: None)
        _LOADED.append((subject, surface_batches(subject)))
    subject, batches = _LOADED[0]
    (measured,) = measure_surface(subject.net, batches, [point])
    return measured
