"""Compare the speed of the trainer with a textbook loop and the bare convolutions: `make bench`.

Each net's variants are timed in turn, step by step, in one process; reported are medians.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from photographs import view_times
from rich.console import Console
from rich.table import Table
from steps import textbook_steps, trainer_steps
from torch import Tensor, nn

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import net_name
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.probes.errors import held_out_errors
from resnet_degradation.training import build as setup
from resnet_degradation.training.build import prepare
from resnet_degradation.training.describe import environment

DEPTHS = (20, 56, 110)
CIFAR = (
    "output_dir=/nowhere",
    "data=digits",
    "data.image_size=32",
    "recipe=cifar",
    "recipe.batch_size=128",
)
# Batches that the textbook loop's two workers keep ready, and the seconds that they need for it.
PREPARED, REST = 4, 0.3
PLAIN = "kept, by plain PyTorch"
MEMORY_VARIANTS = {
    PLAIN: ("runtime.checkpoint_activations=off", "runtime.compile=none"),
    "kept": ("runtime.checkpoint_activations=off",),
    "computed again": ("runtime.checkpoint_activations=on",),
}
IMAGENET = (*CIFAR, "data.image_size=64", "recipe.batch_size=64", "family=imagenet")


def separate_textbook_steps(overrides: tuple[str, ...]) -> Iterator[None]:
    """One step of the textbook loop, in a separate process without this project's settings."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent), "--textbook", *overrides],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while True:
            process.stdin.write("step\n")
            if not process.stdout.readline():
                raise RuntimeError("the process of the textbook loop has ended")
            yield
    finally:
        process.stdin.close()
        process.wait()


def serve_textbook(overrides: list[str]) -> None:
    """Make a step of the textbook loop for every line on standard input."""
    steps = textbook_steps(*overrides)
    for _ in sys.stdin:
        next(steps)
        print("done", flush=True)


def convolution_steps(net: nn.Module, batch: Tensor) -> Iterator[None]:
    """Only the convolutions of one step: forward, and backward for input and weight."""
    calls: list[tuple[Tensor, Tensor, Tensor, nn.Conv2d]] = []

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        calls.append((inputs[0].detach().clone(), torch.randn_like(output), module.weight, module))

    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(record) for module in convolutions]
    with torch.no_grad():
        net(batch)
    for hook in hooks:
        hook.remove()
    while True:
        for number, (x, grad, weight, module) in enumerate(calls):
            with torch.no_grad():
                nn.functional.conv2d(x, weight, None, module.stride, module.padding)
                torch.ops.aten.convolution_backward(
                    *(grad, x, weight, None, module.stride, module.padding, module.dilation),
                    *(False, [0, 0], 1, [number > 0, True, False]),
                )
        yield


def seconds(call: Callable[[], Any]) -> float:
    """The time that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(variants: dict[str, Iterator[None]], rounds: int) -> dict[str, float]:
    """The median seconds of a step of each variant, which take turns.

    In each turn two steps count. Before them, the textbook loop uses up what its workers have
    prepared while it was waiting; after them, they become idle before others are timed.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, steps in variants.items():
            for _ in range(PREPARED if name == "textbook" else 1):
                next(steps)
            times[name] += [seconds(partial(next, steps)) for _ in range(2)]
            if name == "textbook":
                time.sleep(REST)
    return {name: median(taken[2:] or taken) for name, taken in times.items()}


def step_times(overrides: tuple[str, ...], rounds: int, with_textbook: bool) -> dict[str, Any]:
    """Milliseconds of a step: textbook, trainer and convolutions alone; and their ratios."""
    config = compose_config(*overrides)
    run = prepare(config)
    batch, _ = next(run.batches.training(0, 1))
    variants = {"trainer": trainer_steps(run), "convolutions": convolution_steps(run.net, batch)}
    if with_textbook:
        variants = {"textbook": separate_textbook_steps(overrides), **variants}
    times = interleaved(variants, rounds)
    row: dict[str, Any] = {"net": net_name(config), "batch_size": config.recipe.batch_size}
    row["image_size"] = config.data.image_size
    row |= {f"{name}_ms": round(1000 * taken, 2) for name, taken in times.items()}
    if with_textbook:
        row["trainer_to_textbook"] = round(times["trainer"] / times["textbook"], 3)
    row["trainer_to_convolutions"] = round(times["trainer"] / times["convolutions"], 3)
    return row


def parts_of_a_run(rounds: int) -> dict[str, float]:
    """Milliseconds of a batch's data, and images per second of an evaluation, for ResNet-20."""
    run = prepare(compose_config("depth=20", *CIFAR))
    batches = run.batches.training(0, rounds + 3)
    data = [seconds(lambda: next(batches)) for _ in range(rounds + 3)][3:]
    held_out_errors(run.net, run.batches)
    evaluation = seconds(lambda: held_out_errors(run.net, run.batches))
    return {
        "data_ms": round(1000 * median(data), 2),
        "evaluated_images_per_second": round(sum(run.batches.splits.values()) / evaluation),
    }


def peak_memory(variant: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Peak memory and seconds of a step, in a separate process that makes four steps."""
    command = [sys.executable, str(Path(__file__).parent), "--measure-memory", variant, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def peak_kilobytes() -> int:
    """The peak memory of this process; getrusage may report its parent's instead."""
    lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure_memory(variant: str, overrides: list[str]) -> None:
    """Print the peak memory of this process after four steps, and the time of the last three."""
    with mock.patch.object(setup, "keep_freed_memory") if variant == PLAIN else nullcontext():
        run = prepare(compose_config(*overrides))
    before = peak_kilobytes()
    steps = trainer_steps(run)
    next(steps)
    taken = median(seconds(lambda: next(steps)) for _ in range(3))
    peak = peak_kilobytes()
    print(
        json.dumps(
            {
                "net": net_name(run.config),
                "batch_size": run.config.recipe.batch_size,
                "recomputed": run.net.segment_lengths,
                "peak_gb": round(peak / 1e6, 2),
                "before_the_first_step_gb": round(before / 1e6, 2),
                "step_seconds": round(taken, 2),
            }
        )
    )


def start_up() -> dict[str, float]:
    """Seconds to the first recorded iteration, when started a second time; and of --help."""
    command = [str(Path(sys.executable).parent / "resnet-train")]
    taken = 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            process = subprocess.Popen(
                [*command, "runtime.log_every=1", f"output_dir={folder}"],
                stdout=subprocess.DEVNULL,
            )
            while not any(f.stat().st_size > 150 for f in Path(folder).rglob("metrics.csv")):
                if process.poll() is not None:
                    raise RuntimeError("resnet-train ended before its first row")
                time.sleep(0.01)
            taken = time.perf_counter() - began
            process.kill()
            process.wait()
    shown = seconds(lambda: subprocess.run([*command, "--help"], capture_output=True, check=True))
    return {"first_iteration_seconds": round(taken, 2), "help_seconds": round(shown, 2)}


def depth_of(row: dict[str, Any]) -> int:
    """The depth of the net that a row is about."""
    return int(row["net"].split("-")[1])


def draw(rows: list[dict[str, Any]], stem: Path) -> None:
    """Step time against depth and against batch size, of ResNets of the CIFAR family."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["net"].startswith("ResNet") and row["image_size"] == 32]
    deeper = sorted((r for r in rows if r["batch_size"] == 128), key=depth_of)
    larger = sorted((r for r in rows if depth_of(r) == 20), key=lambda r: r["batch_size"])
    with mpl.rc_context(rc()):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, chosen, places in (
            (left, deeper, [depth_of(row) for row in deeper]),
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


def print_tables(results: dict[str, Any], console: Console) -> None:
    """The measurements as readable text."""
    table = Table("net", "batch", "textbook", "trainer", "convs", "/textbook", "/convs")
    for row in results["steps"]:
        table.add_row(
            f"{row['net']} {row['image_size']}px",
            str(row["batch_size"]),
            *(f"{row[f'{n}_ms']:.0f}" if f"{n}_ms" in row else "" for n in ("textbook", "trainer")),
            f"{row['convolutions_ms']:.0f}",
            f"{row['trainer_to_textbook']:.2f}" if "trainer_to_textbook" in row else "",
            f"{row['trainer_to_convolutions']:.2f}",
        )
    console.print(table)
    memory = Table("net", "batch", "activations", "peak GB", "step, s")
    for row in results["memory"]:
        memory.add_row(
            *(row["net"], str(row["batch_size"]), row["variant"]),
            *(f"{row['peak_gb']:.2f}", f"{row['step_seconds']:.2f}"),
        )
    console.print(memory)
    for name, taken in results["views"].items():
        console.print(f"a view of a photograph, {name}: {taken} ms")
    for name, value in (results["parts"] | results["start_up"]).items():
        console.print(f"{name.replace('_', ' ')}: {value}")


def main() -> None:
    """Measure, print, and write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="only check that it works")
    parser.add_argument("--output", default="outputs/bench", help="folder for results and picture")
    parser.add_argument("--textbook", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--measure-memory", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_memory is not None:
        variant, *overrides = arguments.measure_memory
        measure_memory(variant, overrides)
        return
    if arguments.textbook is not None:
        serve_textbook(arguments.textbook)
        return
    rounds = 2 if arguments.short else 9
    depths = DEPTHS[:1] if arguments.short else DEPTHS
    console = Console()
    steps = []
    for residual in ("true", "false"):
        for depth in depths:
            console.print(f"timing depth {depth}, residual {residual} ...")
            net = (f"depth={depth}", f"residual={residual}", *CIFAR)
            steps.append(step_times(net, rounds, with_textbook=True))
    if not arguments.short:
        for depth in (18, 34):
            console.print(f"timing depth {depth} at 64x64 ...")
            steps.append(step_times((f"depth={depth}", *IMAGENET), rounds, with_textbook=True))
        for batch in (32, 64, 256):
            console.print(f"timing a batch of {batch} ...")
            net = ("depth=20", *CIFAR, f"recipe.batch_size={batch}")
            steps.append(step_times(net, rounds, with_textbook=True))
    memory = []
    for depth in (20,) if arguments.short else (20, 110, 1202):
        for variant, overrides in MEMORY_VARIANTS.items():
            console.print(f"memory of depth {depth}, {variant} ...")
            measured = peak_memory(variant, (f"depth={depth}", *CIFAR, *overrides))
            memory.append({"variant": variant, **measured})
    results = {
        "command": "make bench" + (" ARGS=--short" if arguments.short else ""),
        "environment": environment(torch.device("cpu"))
        | {"load_average": [round(load, 2) for load in os.getloadavg()]},
        "rounds": rounds,
        "steps": steps,
        "memory": memory,
        "views": view_times(20 * rounds),
        "parts": parts_of_a_run(rounds),
        "start_up": start_up(),
    }
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    draw(steps, folder / "steps")
    print_tables(results, console)
    console.print(f"written: {folder}/bench.json, {folder}/steps.png")


if __name__ == "__main__":
    main()
