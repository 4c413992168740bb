"""What a training step of ResNet-20 spends its time on, in fp32 and in bf16, on the CPU.

`make bench ARGS=--profile`. The precisions take turns; reported are medians over the turns of the
time inside the operations of each group, without what they call.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from results import conditions, write_results
from steps import CIFAR, seconds
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.training.build import prepare, wrap_for_training
from resnet_degradation.training.step import update

PRECISIONS = ("fp32", "bf16")
DATA = "loading data"  # the name of a part of a step here, and in the profile

# The first group decides that matches an operation: by its own name, or by those of its callers.
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


def group_of(event: FunctionEvent) -> str:
    """The group that an operation belongs to."""
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
    """Training steps whose parts have names in a profile."""
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
    """Milliseconds of a step in each group."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(num_steps):
            next(iterator)
    parts: Counter[str] = Counter()
    for event in profiled.events():
        parts[group_of(event)] += event.self_cpu_time_total / 1000 / num_steps
    return parts


def profile_rows(rounds: int, num_steps: int, batch_size: int) -> list[dict[str, Any]]:
    """For one thread and for all: a step's milliseconds, and its parts, in each precision."""
    rows = []
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        iterators = {precision: steps(precision, batch_size) for precision in PRECISIONS}
        times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        parts: dict[str, list[Counter[str]]] = {precision: [] for precision in PRECISIONS}
        for number in range(rounds + 1):
            for precision, iterator in iterators.items():
                taken = [seconds(partial(next, iterator)) for _ in range(num_steps)]
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
    """A column for each number of threads and precision: milliseconds, and shares of the parts."""
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
    results: dict[str, Any] = conditions(command)
    rounds, num_steps, batch_size = (1, 1, 8) if short else (7, 4, 128)
    results["rows"] = profile_rows(rounds, num_steps, batch_size)
    write_results(folder, "profile", results, table(results))
