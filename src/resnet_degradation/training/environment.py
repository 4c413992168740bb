"""The software and hardware of a run, for its summary."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import numpy
import torch

import resnet_degradation


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, hardware and git revision, for the summary."""
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
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cpu": _cpu_name(),
            "num_cpus": os.cpu_count(),
            "num_threads": torch.get_num_threads(),
        },
        "git_revision": _git_revision(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """The git revision of the running source, or None outside a checkout."""
    source = Path(__file__).resolve().parents[3]
    if not (source / ".git").exists():
        return None
    # Git hooks set variables such as GIT_DIR to another repository. In containers the checkout
    # often belongs to another user, which git refuses without safe.directory.
    variables = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    command = ["git", "-C", str(source), "-c", f"safe.directory={source}"]
    command += ["describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(command, capture_output=True, env=variables, check=False)
    except OSError:
        return None  # no git here
    return described.stdout.decode(errors="replace").strip() or None
