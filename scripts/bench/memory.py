"""Measures the peak memory and time of training steps in a separate process."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from steps import measure_seconds, trainer_steps

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import net_name
from resnet_degradation.training import build as setup
from resnet_degradation.training.build import prepare

PLAIN = "kept, by plain PyTorch"


def peak_memory(variant: str, overrides: tuple[str, ...], num_timed: int = 3) -> dict[str, Any]:
    """Measure the peak memory and median seconds of a step, after one step of warm-up."""
    command = [sys.executable, __file__, variant, str(num_timed), *overrides]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"variant": variant, **measured}


def reset_peak() -> None:
    """Reset the peak memory of this process to its current memory: proc_pid_clear_refs(5)."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def peak_kilobytes() -> int:
    """Return the peak memory of this process; getrusage may report that of its parent."""
    lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure_memory(variant: str, num_timed: int, overrides: list[str]) -> dict[str, Any]:
    """Measure the peak memory of this process over all steps, and the time after the first."""
    with mock.patch.object(setup, "keep_freed_memory") if variant == PLAIN else nullcontext():
        run = prepare(compose_config(*overrides))
    reset_peak()
    before = peak_kilobytes()
    steps = trainer_steps(run)
    next(steps)
    taken = median(measure_seconds(lambda: next(steps)) for _ in range(num_timed))
    peak = peak_kilobytes()
    return {
        "net": net_name(run.config),
        "batch_size": run.config.recipe.batch_size,
        "image_size": run.config.data.image_size,
        "multiply_adds": run.multiply_adds,
        "recomputed": run.net.segment_lengths,
        "peak_gb": round(peak / 1e6, 3),
        "before_the_first_step_gb": round(before / 1e6, 3),
        "step_seconds": round(taken, 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure_memory(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
