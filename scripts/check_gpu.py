#!/usr/bin/env python
"""Test, compare and time the trainer on a CUDA device: `make check-gpu`.

All results are written to one folder after each part, so that none are lost when time runs out.
Parts for which no time is left are skipped, and the report lists them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts" / "bench")]
from gpu_report import write_report  # noqa: E402
from steps import textbook_steps, trainer_steps  # noqa: E402

from resnet_degradation.cli.compose import compose_config  # noqa: E402
from resnet_degradation.records.metrics import read_metrics  # noqa: E402
from resnet_degradation.system.atomic_files import write_json  # noqa: E402
from resnet_degradation.training.build import prepare  # noqa: E402
from resnet_degradation.training.describe import describe_environment  # noqa: E402
from resnet_degradation.training.torch_settings import restore_settings, set_arithmetic  # noqa: E402

SMALL = ("data=digits", "recipe=cifar", "data.image_size=32", "recipe.batch_size=128")
LARGE = ("family=imagenet", *SMALL[:2], "data.image_size=224", "recipe.batch_size=256")
# Maximum mean difference between the training errors of two devices, in percentage points.
# Each row counts 1,280 images, so the noise of a difference is about 1.5 points.
MAX_CURVE_DIFFERENCE = 5.0
# Maps the values of runtime.compile to their names in the report.
COMPILE_MODE_NAMES = {"none": "eager", "step": "captured step", "graphs": "net as CUDA graphs"}
# Do not start another variant with fewer seconds left, because compiling takes long.
MIN_SECONDS = 60


@dataclass
class Check:
    """The state of a check: its output folder, its time limit and its results."""

    output: Path
    device: str
    tiny: bool  # whether this is a dry run with tiny sizes
    deadline: float
    results: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)  # keyed by device

    def seconds_left(self) -> float:
        """Return the seconds until the time limit."""
        return self.deadline - time.monotonic()

    def save(self) -> None:
        """Write results.json, the report and its figures."""
        results = self.results | {"failures": self.failures}
        write_json(self.output / "results.json", results)
        write_report(self.output, results, self.curves)


def run_tests(check: Check) -> None:
    """Run the tests that need CUDA, and write tests.log.

    Tests run in parallel, except the one that fills the GPU's memory.
    """
    num_workers = max(1, min(6, (os.cpu_count() or 1) // 2))
    log = check.output / "tests.log"
    outcomes = []
    with log.open("w", encoding="utf-8") as stream:
        for selection, options in (
            ("not out_of_memory", ["-n", str(num_workers)]),
            ("out_of_memory", []),
        ):
            pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu"]
            code = subprocess.run(
                [*pytest, "-rA", "-k", selection, *options, "tests/gpu"],
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=200,
                check=False,
            ).returncode
            outcomes.append(log.read_text("utf-8").strip().splitlines()[-1].strip("= "))
            if code != 0:
                check.failures.append(f"tests ({selection.replace('_', ' ')}): see tests.log")
    check.results["tests"] = "; ".join(outcomes)
    print(f"  {check.results['tests']}", flush=True)


def compare_curves(check: Check) -> None:
    """Train ResNet-20 on digits, on this device and on the CPU, and compare the training errors."""
    curves = check.curves
    iterations = 30 if check.tiny else 500
    for device in (check.device, "cpu"):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [
                *SMALL,
                "depth=20",
                f"recipe.iterations={iterations}",
                "runtime.log_every=10",
            ]
            arguments += [f"runtime.device={device}", f"output_dir={folder}"]
            if check.tiny:
                arguments += ["data.image_size=8", "recipe.batch_size=32"]
            subprocess.run(
                [sys.executable, "-m", "resnet_degradation.train", *arguments],
                stdout=subprocess.DEVNULL,
                timeout=150,
                check=True,
            )
            (record,) = Path(folder).rglob("metrics.csv")
            curves[device] = [row.train_error for row in read_metrics(record.parent)]
            shutil.copy(record, check.output / f"curve-{device}.csv")
    pairs = list(zip(curves[check.device], curves["cpu"], strict=True))
    difference = mean(abs(one - other) for one, other in pairs)
    check.results["curve"] = {
        "iterations": iterations,
        "mean_difference_points": round(difference, 2),
        "bound": MAX_CURVE_DIFFERENCE,
        "final_train_error": {check.device: pairs[-1][0], "cpu": pairs[-1][1]},
    }
    print(
        f"  mean difference {difference:.2f} points (at most {MAX_CURVE_DIFFERENCE:g})", flush=True
    )
    if difference > MAX_CURVE_DIFFERENCE:
        check.failures.append(f"curve: {difference:.2f} points from the CPU's")


def configured_steps(*overrides: str) -> Iterator[None]:
    """Yield after each training step of this project; the net is built at the first step."""
    yield from trainer_steps(prepare(compose_config(*overrides, "output_dir=/nowhere")))


def with_precision(
    precision: str, steps: Iterator[None], deterministic: bool = True
) -> Iterator[None]:
    """Make the same steps, with TF32 on or off as the precision requires.

    These settings hold for the whole process, in which variants take turns, so each step sets them
    again. deterministic: False for the steps of other code, as is torch's default.
    """
    while True:
        set_arithmetic(precision)
        torch.backends.cudnn.deterministic = deterministic
        next(steps)
        yield


def torchvision_steps(depth: int, device: str, size: int, batch_size: int) -> Iterator[None]:
    """Yield after each step of torchvision's ResNet, in bf16 and channels last, on one batch."""
    net: nn.Module = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    net.to(device).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch_size, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch_size,), device=device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    while True:
        with torch.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def time_steps(
    check: Check, variants: dict[str, Iterator[None]], batch_size: int
) -> dict[str, int]:
    """Return the images per second of each variant, as the median of several alternating turns.

    The last variants are skipped if time runs out.
    """
    warm_up, turns, steps = (1, 1, 1) if check.tiny else (10, 3, 20)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for name, variant in list(variants.items()):
        if check.seconds_left() < MIN_SECONDS:
            check.results.setdefault("skipped", []).append(name)
            del variants[name], times[name]
            continue
        try:
            for _ in range(warm_up):
                next(variant)
        except Exception as error:  # go on with the other variants
            print(f"  {name}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            check.failures.append(f"{name}: {type(error).__name__}")
            del variants[name], times[name]
    for _ in range(turns):
        for name, variant in variants.items():
            synchronize(check.device)
            start = time.perf_counter()
            for _ in range(steps):
                next(variant)
            synchronize(check.device)
            times[name].append((time.perf_counter() - start) / steps)
    return {name: round(batch_size / median(taken)) for name, taken in times.items()}


def synchronize(device: str) -> None:
    """Wait until the device has finished all its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure_speeds(check: Check, depth: int, sizes: tuple[str, ...]) -> None:
    """Measure the speed of one ResNet in each precision and compile mode, and of other code."""
    if check.tiny:
        sizes = (*sizes, "data.image_size=16", "recipe.batch_size=16", "recipe.pad=1", "width=0.25")
    net = (f"depth={depth}", *sizes)
    config = compose_config(*net)
    batch_size = config.recipe.batch_size
    if config.family == "imagenet":
        precisions, compile_modes = ["bf16"], ["none"]
        peer = torchvision_steps(depth, check.device, config.data.image_size, batch_size)
        peer_name = f"torchvision's ResNet-{depth} bf16"
    else:
        precisions = ["fp32", "bf16"] if check.device == "cpu" else ["fp32", "tf32", "bf16"]
        compile_modes = ["none"] if check.tiny else ["none", "step", "graphs"]
        peer = textbook_steps(*net, device=check.device)
        peer_name = f"textbook loop, ResNet-{depth} fp32"
    variants = {peer_name: with_precision(peer_name.rpartition(" ")[2], peer, deterministic=False)}
    for compile_mode, precision in product(compile_modes, precisions):
        if compile_mode == "graphs" and (precision != "bf16" or depth > 56):
            continue  # compiling takes long
        overrides = (f"runtime.precision={precision}", f"runtime.compile={compile_mode}")
        name = f"ResNet-{depth} {precision}, {COMPILE_MODE_NAMES[compile_mode]}"
        variants[name] = with_precision(precision, configured_steps(*net, *overrides))
    measured = time_steps(check, variants, batch_size)
    check.results.setdefault("images_per_second", {}).update(measured)
    for name, speed in measured.items():
        print(f"  {name:40} {speed:>9,} images/s", flush=True)


def measure_memory(check: Check) -> None:
    """Measure the peak memory and speed of ResNet-1202 with a batch size of 128."""
    depth = 32 if check.tiny else 1202
    sizes = (*SMALL, f"depth={depth}", *(("recipe.batch_size=8",) if check.tiny else ()))
    if check.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    end_times = []
    steps = configured_steps(*sizes)
    for _ in range(4):
        next(steps)
        synchronize(check.device)
        end_times.append(time.perf_counter())
    seconds = median(end - start for start, end in pairwise(end_times))
    peak = torch.cuda.max_memory_allocated() / 1e9 if check.device == "cuda" else None
    check.results["memory"] = {"depth": depth, "peak_gb": peak, "seconds_a_step": round(seconds, 3)}
    print(f"  ResNet-{depth}: {seconds:.2f} s a step, peak memory {peak} GB", flush=True)


def measure_pipeline(check: Check) -> None:
    """Measure how many JPEG files of 500x375 are read, decoded and augmented per second."""
    count, workers = (16, 0) if check.tiny else (2048, 8)
    with tempfile.TemporaryDirectory() as folder:
        noise = torch.nn.functional.interpolate(torch.rand(8, 3, 24, 32), size=(375, 500))
        for number in range(count):
            pixels = (255 * noise[number % 8]).byte().permute(1, 2, 0).numpy()
            class_folder = Path(folder) / ("val" if number < 8 else "train") / str(number % 2)
            class_folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(class_folder / f"{number}.jpg", quality=90)
        batch_size = 4 if check.tiny else 256
        run = prepare(
            compose_config(
                *("data=folder", f"data.root={folder}", "recipe=imagenet", "data.image_size=224"),
                *("family=imagenet", "depth=18", "width=0.125", "output_dir=/nowhere"),
                *(f"recipe.batch_size={batch_size}", f"runtime.num_workers={workers}"),
            )
        )
        batches = run.batches.training(0, 10**6)
        next(batches)
        start, steps = time.perf_counter(), 2 if check.tiny else 12
        for _ in range(steps):
            next(batches)
        synchronize(check.device)
        speed = round(steps * batch_size / (time.perf_counter() - start))
        batches.close()
    check.results["pipeline"] = {"num_workers": workers, "images_per_second": speed}
    print(f"  {speed:,} images/s with {workers} workers", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu-check"))
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--minutes", type=float, default=7.0, help="time limit for all parts")
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        print(
            "error: torch finds no CUDA device here (--dry-run tries the script on the CPU)",
            file=sys.stderr,
        )
        return 3
    device = "cpu" if arguments.dry_run else "cuda"
    arguments.output.mkdir(parents=True, exist_ok=True)
    check = Check(
        arguments.output, device, arguments.dry_run, time.monotonic() + 60 * arguments.minutes
    )
    check.results["environment"] = {
        **describe_environment(torch.device(device)),
        "cuda": torch.version.cuda,
        "command": " ".join(sys.argv),
    }
    parts: dict[str, Callable[[], None]] = {
        "tests": lambda: run_tests(check),
        "speed of ResNet-20": lambda: measure_speeds(check, 20, SMALL),
        "speed of ResNet-56": lambda: measure_speeds(check, 56, SMALL),
        "speed of ResNet-50": lambda: measure_speeds(check, 50, LARGE),
        "curve": lambda: compare_curves(check),
        "speed of ResNet-110": lambda: measure_speeds(check, 110, SMALL),
        "speed of ResNet-18": lambda: measure_speeds(check, 18, LARGE),
        "memory of ResNet-1202": lambda: measure_memory(check),
        "input pipeline": lambda: measure_pipeline(check),
    }
    if arguments.skip_tests:
        del parts["tests"]
    for name, part in parts.items():
        if check.seconds_left() < 20:
            check.results.setdefault("skipped", []).append(name)
            continue
        print(f"{name} ({check.seconds_left():.0f} s left)", flush=True)
        try:
            with restore_settings():
                part()
        except Exception as error:  # go on with the other parts
            check.failures.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
            print(f"  failed: {check.failures[-1]}", flush=True)
        check.save()
    check.save()
    print(f"report: {check.output / 'report.md'}")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
