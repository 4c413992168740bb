"""Trains tiny nets, interrupts them, and compares the files that they write."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torture import are_identical

from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.metrics import Row, read_metrics
from resnet_degradation.training import session

Configure = Tiny = Callable[..., Config]
TrainRun = Callable[[Config], Path]


class PowerCutError(Exception):
    """Represents anything that ends a process in the middle of a run."""


class CutProgress(RunProgress):
    """Raises PowerCutError after `after` iterations."""

    def __init__(self, after: int) -> None:
        super().__init__(Console(quiet=True))
        self.after = after

    def advance(self, done: int) -> None:
        if done == self.after:
            raise PowerCutError


def interrupt(config: Config, after: int) -> None:
    with pytest.raises(PowerCutError):
        session.train(config, CutProgress(after))


def without_times(folder: Path) -> list[Row]:
    return [replace(row, images_per_second=0, seconds=0) for row in read_metrics(folder)]


def final_state(folder: Path) -> dict[str, Any]:
    """The parts of the last checkpoint, without its times."""
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    return {name: state for name, state in checkpoint.parts.items() if name != "clock"}


def assert_equal_states(first: Any, second: Any) -> None:
    assert are_identical(first, second)


PLATEAU = ("recipe.schedule=plateau", "recipe.plateau_every=3", "recipe.plateau_patience=1")
WARMUP = ("recipe.warmup=always", "recipe.warmup_window=4", "recipe.warmup_until=95")


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
