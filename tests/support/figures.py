"""Runs the script that draws figures, and makes run folders for it."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
from omegaconf import OmegaConf

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, DataConfig

SCRIPT = Path(__file__).parents[2] / "scripts" / "plot_curves.py"


def plot(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script in this process, because a new one would take seconds to start."""
    command = [str(SCRIPT), *map(str, arguments)]
    output, errors = io.StringIO(), io.StringIO()
    with (
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    code = end.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def finished_run(folder: Path, error: float, *, cifar: bool = True, **settings: object) -> Path:
    """Write the files of a run folder that a figure of errors against depth reads."""
    folder.mkdir(parents=True)
    data = DataConfig("cifar10", families=["cifar" if cifar else "imagenet"])
    config = resolve(Config(data=data, **settings))  # type: ignore[arg-type]
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    errors = {"train_error": error, "val_error": None, "test_error": error}
    summary = {"final_errors_percent": errors, "final_train_images": 1000}
    summary |= dict.fromkeys(("num_parameters", "multiply_adds", "iterations", "seconds"), 1)
    summary |= {"num_classes": 10, "still_warming_up": False}
    summary |= {key: {} for key in ("versions", "hardware", "git_revision")}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
