"""Describes a run: a few lines when it starts, a summary when it ends."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import numpy
import torch

import resnet_degradation
from resnet_degradation.config.identity import data_name, net_name
from resnet_degradation.nets.build import num_parameters
from resnet_degradation.records.summary import FinalErrors
from resnet_degradation.system.process import describe_threads
from resnet_degradation.training.state import Run


def describe_run(run: Run) -> str:
    """Describe the net, the data, the schedule and the device in a few lines."""
    config, plan, size = run.config, run.plan, run.config.data.image_size
    held_out = ", ".join(f"{count:,} {split}" for split, count in run.batches.splits.items())
    device = run.device.type
    if device == "cpu":
        device = describe_threads(torch.get_num_threads())
    if run.world.size > 1:
        device = f"{run.world.size} processes, each on {device}"
    epochs = plan.num_iterations / plan.iterations_per_epoch
    lines = [
        f"{run.name}, {config.family} family: {num_parameters(run.net):,} parameters, "
        f"{run.multiply_adds / 1e6:,.1f} M multiply-adds",
        f"{data_name(config)} {size}x{size}: {run.batches.num_train:,} train, {held_out}",
        f"{plan.num_iterations:,} iterations of {config.recipe.batch_size} images "
        f"({epochs:.1f} epochs) on {device}",
        f"in {run.folder}",
    ]
    if config.weights is not None:
        lines.append(f"initialized with the weights in {config.weights}")
    if run.weights_layout is not None:
        lines.append(run.weights_layout)
    if run.extension is not None:
        lines.append(str(run.extension))
    if run.skipped:
        lines.append(f"skipped {len(run.skipped):,} unreadable images: see skipped.csv")
    if run.start > 0:
        lines.append(f"resumed after {run.start:,} iterations")
    return "\n".join(lines)


def make_summary(run: Run, final: FinalErrors) -> dict[str, Any]:
    """Make the content of summary.json, with errors in percent and times in seconds."""
    config, plan = run.config, run.plan
    return {
        "net": net_name(config),
        "seed": config.seed,
        "data": data_name(config),
        "num_classes": run.batches.num_classes,
        "num_train_images": run.batches.num_train,
        "num_held_out_images": run.batches.splits,
        "num_skipped_images": len(run.skipped),
        "iterations": plan.num_iterations,
        "epochs": plan.num_iterations / plan.iterations_per_epoch,
        "final_errors_percent": final.as_dict(),
        "final_train_images": final.num_counted_images,
        "still_warming_up": run.schedule.state.warming_up,
        "num_parameters": num_parameters(run.net),
        "multiply_adds": run.multiply_adds,
        "seconds": run.clock.seconds(),
        "data_supply": run.throughput.summary(),
        "num_processes": run.world.size,
        "batch_normalization": run.environment["batch normalization"],
        **describe_environment(run.device),
    }


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return the versions, hardware and git revision, for the summary."""
    return {
        "versions": {
            "python": platform.python_version(),
            "resnet-degradation": resnet_degradation.__version__,
            "torch": torch.__version__,
            "torchvision": version("torchvision"),  # importing it takes a second
            "hydra-core": hydra.__version__,
            "numpy": numpy.__version__,
        },
        "hardware": {
            "platform": platform.platform(),
            "device": (
                torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
            ),
            "cpu": _cpu_name(),
            "num_cpus": os.cpu_count(),
            "num_threads": torch.get_num_threads(),
        },
        "git_revision": _git_revision(),
    }


def _cpu_name() -> str:
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """Return the git revision of the running source, or None outside a checkout."""
    source = Path(__file__).resolve().parents[3]
    if not (source / ".git").exists():
        return None
    # Inside a git hook, variables such as GIT_DIR name another repository. In containers, the
    # checkout often belongs to another user; git then refuses to read it without safe.directory.
    variables = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    command = ["git", "-C", str(source), "-c", f"safe.directory={source}"]
    command += ["describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(command, capture_output=True, env=variables, check=False)
    except OSError:
        return None  # git is not installed
    return described.stdout.decode(errors="replace").strip() or None
