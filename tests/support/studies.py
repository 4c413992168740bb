"""Studies of tiny nets on 8x8 digits, composed in the same way as by the command."""

import csv
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console

from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.studies.definition import Study, resolve_study
from resnet_degradation.training.describe import describe_environment

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
    """The study that `resnet-study` would run with these overrides."""
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("study_config", overrides=list(overrides))
        chosen = [override for override in overrides if override.startswith("study=")]
        return resolve_study(composed, compose("study_config", overrides=chosen))


def quiet() -> Console:
    """A console that prints nothing."""
    return Console(quiet=True)


def untimed_table(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file without the columns that contain times."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {k: v for k, v in row.items() if k not in ("images_per_second", "seconds")} for row in rows
    ]


def untimed_record(folder: Path) -> list[tuple[str, ...]]:
    """The rows of a run's metrics.csv without the columns that contain times."""
    return [tuple(row.values()) for row in untimed_table(folder / "metrics.csv")]


def rounds_like(torch_version: str, cpu: str) -> bool:
    """Whether this machine has the given CPU, and a version of torch that starts as given.

    Results are then rounded in the same way as on the machine that recorded them.
    """
    here = describe_environment(torch.device("cpu"))
    same_torch = str(here["versions"]["torch"]).startswith(torch_version)
    return same_torch and bool(here["hardware"]["cpu"] == cpu)
