"""Profiles a training step of ResNet-20 on the CPU, in fp32 and bf16: `make bench ARGS=--profile`.

The precisions take turns. The results are medians over turns of the time inside the operations of
each group, excluding the operations that they call.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from results import describe_conditions, write_results
from steps import CIFAR, measure_seconds
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.training.build import prepare, wrap_for_training
from resnet_degradation.training.step import update

PRECISIONS = ("fp32", "bf16")
DATA = "loading data"  # the name of this group, and of this part of a step in the profile

# Groups in order of priority. BY_NAME matches only the name of an operation; the others also match
# the names of its callers.
BY_CALLERS = {DATA: DATA, "optimizer": r"Optimizer\."}
BY_NAME = {
    "casts and copies": r"copy|aten::(to|contiguous|clone)$|ToCopyBackward",
    "ReLU and addition": r"aten::(relu|clamp_min|threshold|add_?$)|ReluBackward|AddBackward",
}
BY_OPERATION = {
    "convolutions": r"[cC]onv",
    "batch normalization": r"batch_norm|BatchNorm",
    "loss": r"cross_entropy|nll|log_softmax|NllLoss|LogSoftmax",
}
REST = "the rest, and Python"
GROUPS = (
    *("convolutions", "batch normalization", "ReLU and addition", "casts and copies"),
    *("optimizer", "loss", DATA, REST),
)


def find_group(event: FunctionEvent) -> str:
    """Find the group of an operation."""
    callers, caller = [event.name], event.cpu_parent
    while caller is not None:
        callers.append(caller.name)
        caller = caller.cpu_parent
    for groups, names in ((BY_CALLERS, callers), (BY_NAME, callers[:1]), (BY_OPERATION, callers)):
        for group, pattern in groups.items():
            if any(re.search(pattern, name) for name in names):
                return group
    return REST


def steps(precision: str, batch_size: int) -> Iterator[None]:
    """Yield after each training step, whose parts have names in a profile."""
    overrides = (f"runtime.precision={precision}", f"recipe.batch_size={batch_size}")
    run = prepare(compose_config("depth=20", *CIFAR, *overrides, "runtime.device=cpu"))
    run.net.train()
    forward = wrap_for_training(run)
    batches = run.batches.training(0, 10**6)
    while True:
        with record_function("step"):
            with record_function(DATA):
                images, labels = next(batches)
            update(run, forward, images, labels, 0.01)
        yield


def step_parts(iterator: Iterator[None], num_steps: int) -> Counter[str]:
    """Measure the milliseconds of a step in each group."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(num_steps):
            next(iterator)
    parts: Counter[str] = Counter()
    for event in profiled.events():
        parts[find_group(event)] += event.self_cpu_time_total / 1000 / num_steps
    return parts


def profile_rows(rounds: int, num_steps: int, batch_size: int) -> list[dict[str, Any]]:
    """Measure a step and its parts in each precision, with one thread and with all."""
    rows = []
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        iterators = {precision: steps(precision, batch_size) for precision in PRECISIONS}
        times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        parts: dict[str, list[Counter[str]]] = {precision: [] for precision in PRECISIONS}
        for number in range(rounds + 1):
            for precision, iterator in iterators.items():
                taken = [measure_seconds(partial(next, iterator)) for _ in range(num_steps)]
                profiled = step_parts(iterator, num_steps)
                if number > 0:  # the first round warms up
                    times[precision] += taken
                    parts[precision].append(profiled)
        for precision in PRECISIONS:
            groups = {g: round(median(p[g] for p in parts[precision]), 2) for g in GROUPS}
            row = {"precision": precision, "threads": threads, "parts_ms": groups}
            rows.append(row | {"step_ms": round(1000 * median(times[precision]), 2)})
    return rows


def table(results: dict[str, Any]) -> list[list[str]]:
    """Make a column for each number of threads and precision: milliseconds and shares."""
    rows = results["rows"]
    heads = [f"{r['precision']}, {r['threads']} thread{'s'[: r['threads'] > 1]}" for r in rows]
    cells = [["milliseconds of a step", *heads]]
    for group in GROUPS:
        shares = [row["parts_ms"][group] / sum(row["parts_ms"].values()) for row in rows]
        taken = [row["parts_ms"][group] for row in rows]
        pairs = zip(taken, shares, strict=True)
        cells.append([group, *(f"{ms:.1f} ({share:.0%})" for ms, share in pairs)])
    cells.append(["whole step, without the profiler", *(f"{row['step_ms']:.1f}" for row in rows)])
    return cells


def measure_profile(folder: Path, short: bool, command: str) -> None:
    """Measure, print the table, and write profile.json and profile.md."""
    results: dict[str, Any] = describe_conditions(command)
    rounds, num_steps, batch_size = (1, 1, 8) if short else (7, 4, 128)
    results["rows"] = profile_rows(rounds, num_steps, batch_size)
    write_results(folder, "profile", results, table(results))
