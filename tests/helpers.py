"""Studies of tiny nets on 8x8 digits, made as the command makes them; and waiting for things."""

import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from rich.console import Console

from resnet_degradation.cli import config_folder, register_schemas
from resnet_degradation.runs import COLUMNS
from resnet_degradation.study.define import Study, resolve_study

TINY = (
    "study.nets=[{depth: 8, residual: false}, {depth: 14, residual: false}, "
    "{depth: 8, residual: true}, {depth: 14, residual: true}]",
    "data.image_size=8",
    "recipe.iterations=6",
    "recipe.batch_size=32",
    "recipe.pad=1",
    "width=0.5",
    "runtime.eval_every=2",
    "runtime.log_every=2",
)


def study_of(tmp_path: Path, *overrides: str) -> Study:
    """A tiny study below `tmp_path`; overrides come last."""
    return composed_study(*TINY, f"output_dir={tmp_path / 'outputs'}", *overrides)


def composed_study(*overrides: str) -> Study:
    """The study that `resnet-study` would carry out with these overrides."""
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("study_config", overrides=list(overrides))
        chosen = [override for override in overrides if override.startswith("study=")]
        return resolve_study(composed, compose("study_config", overrides=chosen))


def quiet() -> Console:
    """A console that nobody sees."""
    return Console(quiet=True)


def untimed_record(folder: Path) -> list[tuple[str, ...]]:
    """The rows of a run's metrics.csv without the columns that tell time."""
    untimed = [name for name in COLUMNS if name not in ("images_per_second", "seconds")]
    with (folder / "metrics.csv").open(newline="") as stream:
        return [tuple(row[name] for name in untimed) for row in csv.DictReader(stream)]


@contextmanager
def served(outputs: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the runs in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "tensorboard.main", "--logdir", outputs.name),
            *("--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1"),
        ],
        cwd=outputs.parent,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _reachable(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(holds: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds; fail if it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)
