"""Compares the trainer with its peers and a lower bound, in one table: `make bench`.

The peers are the textbook loop, torchvision's reference transforms, and plain PyTorch (for memory).
Variants take turns, and the results are medians.
"""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from memory import PLAIN, peak_memory
from photographs import measure_view_times
from results import describe_conditions, write_results
from steps import CIFAR, convolution_steps, measure_seconds, separate_textbook_steps, trainer_steps

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import net_name
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.training.build import prepare

DEPTHS = (20, 56, 110)
IMAGENET = (
    *CIFAR,
    *("data.image_size=64", "recipe.batch_size=64", "family=imagenet", "shortcut=B"),
)
# Batches that the two workers of the textbook loop prefetch, and seconds that this takes.
NUM_PREFETCHED, PREFETCH_SECONDS = 4, 0.3
# Timed steps per turn. The textbook loop has more, because its workers make its steps vary.
NUM_TIMED, NUM_TIMED_TEXTBOOK = 2, 6
MEMORY_VARIANTS = {
    PLAIN: ("runtime.checkpoint_activations=off", "runtime.compile=none"),
    "kept": ("runtime.checkpoint_activations=off",),
    "recomputed": ("runtime.checkpoint_activations=on",),
}


def time_interleaved(variants: dict[str, Iterator[None]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step of each variant in each round. Variants take turns.

    The first of several rounds is a warm-up. Before its timed steps, the textbook loop uses up the
    batches that its workers prefetched while it was waiting. After them, it waits until its workers
    are idle again.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, steps in variants.items():
            is_textbook = name == "textbook"
            num_skipped = NUM_PREFETCHED if is_textbook else 1
            num_timed = NUM_TIMED_TEXTBOOK if is_textbook else NUM_TIMED
            for _ in range(num_skipped):
                next(steps)
            taken = sum(measure_seconds(partial(next, steps)) for _ in range(num_timed))
            times[name].append(taken / num_timed)
            if is_textbook:
                time.sleep(PREFETCH_SECONDS)
    return {name: rounds_taken[1:] or rounds_taken for name, rounds_taken in times.items()}


def paired_ratio(times: list[float], others: list[float]) -> float:
    """Return the median over turns of the ratio of two variants' times."""
    pairs = zip(times, others, strict=True)
    return round(median(one / other for one, other in pairs), 3)


def step_times(overrides: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Measure the milliseconds of a step of textbook, trainer and convolutions, and ratios."""
    config = compose_config(*overrides)
    run = prepare(config)
    batch, _ = next(run.batches.training(0, 1))
    variants = {
        "textbook": separate_textbook_steps(overrides),
        "trainer": trainer_steps(run),
        "convolutions": convolution_steps(run.net, batch),
    }
    times = time_interleaved(variants, rounds)
    row: dict[str, Any] = {"net": net_name(config), "batch_size": config.recipe.batch_size}
    row["image_size"] = config.data.image_size
    row |= {f"{name}_ms": round(1000 * median(taken), 2) for name, taken in times.items()}
    for other in ("textbook", "convolutions"):
        row[f"trainer_to_{other}"] = paired_ratio(times["trainer"], times[other])
    return row


def measure_parts(rounds: int) -> dict[str, float]:
    """Measure the milliseconds to load a batch, and the speed of evaluation, for ResNet-20."""
    run = prepare(compose_config("depth=20", *CIFAR))
    batches = run.batches.training(0, rounds + 3)
    data = [measure_seconds(lambda: next(batches)) for _ in range(rounds + 3)][3:]
    held_out_errors(run.net, run.batches)
    evaluation = measure_seconds(lambda: held_out_errors(run.net, run.batches))
    return {
        "data_ms": round(1000 * median(data), 2),
        "evaluated_images_per_second": round(sum(run.batches.splits.values()) / evaluation),
    }


def measure_start_up() -> dict[str, float]:
    """Measure the seconds of a second start to the first recorded iteration, and of --help."""
    command = [str(Path(sys.executable).parent / "resnet-train")]
    taken = 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            start_time = time.perf_counter()
            process = subprocess.Popen(
                [*command, "runtime.log_every=1", f"output_dir={folder}"],
                stdout=subprocess.DEVNULL,
            )
            while not any(f.stat().st_size > 150 for f in Path(folder).rglob("metrics.csv")):
                if process.poll() is not None:
                    raise RuntimeError("resnet-train ended before its first row")
                time.sleep(0.01)
            taken = time.perf_counter() - start_time
            process.kill()
            process.wait()
    shown = measure_seconds(
        lambda: subprocess.run([*command, "--help"], capture_output=True, check=True)
    )
    return {"first_iteration_seconds": round(taken, 2), "help_seconds": round(shown, 2)}


def get_depth(row: dict[str, Any]) -> int:
    """Return the depth of the net in a row."""
    return int(row["net"].split("-")[1])


def draw(rows: list[dict[str, Any]], stem: Path) -> None:
    """Draw step time against depth and against batch size, for ResNets of the CIFAR family."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["net"].startswith("ResNet") and row["image_size"] == 32]
    deeper = sorted((r for r in rows if r["batch_size"] == 128), key=get_depth)
    larger = sorted((r for r in rows if get_depth(r) == 20), key=lambda r: r["batch_size"])
    with mpl.rc_context(rc()):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, chosen, places in (
            (left, deeper, [get_depth(row) for row in deeper]),
            (right, larger, [row["batch_size"] for row in larger]),
        ):
            for name in ("textbook", "trainer", "convolutions"):
                times = [row.get(f"{name}_ms", math.nan) for row in chosen]
                axes.plot(places, times, marker="o", label=name)
            axes.set(xscale="log", yscale="log", ylabel="milliseconds a step")
            axes.set_xticks(places, [str(place) for place in places], minor=False)
            axes.set_xticks([], minor=True)
            axes.legend()
        left.set(xlabel="layers", title="ResNets, 128 images of 32x32 a step")
        right.set(xlabel="images a step", title="ResNet-20, images of 32x32")
    save_figure(figure, stem, ("png",))


def table(results: dict[str, Any]) -> list[list[str]]:
    """Make a table of all measurements: peer, here, lower bound, and ratios; header first."""
    rows = [["what", "peer", "here", "here / peer", "lower bound", "here / lower bound"]]
    for step in results["steps"]:
        size = step["image_size"]
        rows.append(
            [
                f"step of {step['net']}, {step['batch_size']} of {size}x{size}",
                *(f"{step['textbook_ms']:.0f} ms", f"{step['trainer_ms']:.0f} ms"),
                f"{step['trainer_to_textbook']:.2f}",
                f"{step['convolutions_ms']:.0f} ms",
                f"{step['trainer_to_convolutions']:.2f}",
            ]
        )
    views = results["views"]
    least = views["decoding alone"]
    for kind, end in product(("exact", "fast"), ("bytes", "floats")):
        ours, theirs = views[kind], views[f"torchvision, {end}"]
        rows.append(
            [
                f"view of a photograph, `resize={kind}`; torchvision's to {end}",
                *(f"{theirs:.2f} ms", f"{ours:.2f} ms", f"{ours / theirs:.2f}"),
                *(f"{least:.2f} ms", f"{ours / least:.2f}"),
            ]
        )
    plain = {row["net"]: row for row in results["memory"] if row["variant"] == PLAIN}
    for row in results["memory"]:
        if row["variant"] != PLAIN:
            for key, what, unit, digits in (
                ("peak_gb", "peak memory", "GB", 2),
                ("step_seconds", "step", "s", 2),
            ):
                ours, theirs = row[key], plain[row["net"]][key]
                name = f"{what} of {row['net']}, activations {row['variant']}"
                cells = [f"{value:.{digits}f} {unit}" for value in (theirs, ours)]
                rows.append([name, *cells, f"{ours / theirs:.2f}", "", ""])
    parts = results["parts"] | results["start_up"]
    for name, value in (
        ("data of a step of ResNet-20", f"{parts['data_ms']} ms"),
        ("images evaluated in a second, ResNet-20", f"{parts['evaluated_images_per_second']:,}"),
        ("`resnet-train` to its first iteration", f"{parts['first_iteration_seconds']:.1f} s"),
        ("`resnet-train --help`", f"{parts['help_seconds']:.1f} s"),
    ):
        rows.append([name, "", value, "", "", ""])
    return rows


def compare(folder: Path, short: bool, command: str) -> None:
    """Measure, print the table, and write bench.json, bench.md and steps.png."""
    rounds = 2 if short else 5
    depths = DEPTHS[:1] if short else DEPTHS
    results: dict[str, Any] = {**describe_conditions(command), "rounds": rounds}
    nets: list[tuple[str, ...]] = [
        (f"depth={depth}", f"residual={residual}", *CIFAR)
        for residual in ("true", "false")
        for depth in depths
    ]
    if not short:
        nets += [(f"depth={depth}", *IMAGENET) for depth in (18, 34)]
        nets += [("depth=20", *CIFAR, f"recipe.batch_size={batch}") for batch in (32, 64, 256)]
    results["steps"] = []
    for net in nets:
        print("timing", *net, flush=True)
        results["steps"].append(step_times(net, rounds))
    results["memory"] = []
    for depth in (20,) if short else (20, 110, 1202):
        for variant, overrides in MEMORY_VARIANTS.items():
            print(f"memory of depth {depth}, activations {variant}", flush=True)
            measured = peak_memory(variant, (f"depth={depth}", *CIFAR, *overrides))
            results["memory"].append(measured)
    results["views"] = measure_view_times(40 * rounds)
    results["parts"], results["start_up"] = measure_parts(rounds), measure_start_up()
    write_results(folder, "bench", results, table(results))
    draw(results["steps"], folder / "steps")
