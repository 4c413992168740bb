"""The parts of a run, which checkpoints save and restore."""

import warnings
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from resnet_degradation.config.schema import Config
from resnet_degradation.data.batches import Batch, Batches
from resnet_degradation.distributed.running_statistics import RunningStatistics
from resnet_degradation.distributed.world import World
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.checkpoint import (
    Checkpoint,
    describe_first_difference,
    other_version_error,
    save_checkpoint,
)
from resnet_degradation.records.csv_tables import format_row, parse_row
from resnet_degradation.records.metrics import COLUMNS, Row
from resnet_degradation.system.errors import CheckpointError
from resnet_degradation.training.extend_run import Extension
from resnet_degradation.training.meters import Clock, Meter, ThroughputMonitor
from resnet_degradation.training.schedule import Plan, Schedule


@dataclass
class Run:
    """One run that has trained `start` iterations."""

    config: Config
    name: str
    folder: Path
    device: torch.device
    world: World
    batches: Batches
    classes: list[str]
    skipped: list[tuple[str, str]]  # unreadable images: (split, what is wrong with the file)
    plan: Plan
    net: ResNet
    statistics: RunningStatistics
    multiply_adds: int  # per image
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # scales the loss in fp16; does nothing in other precisions
    schedule: Schedule
    meter: Meter
    throughput: ThroughputMonitor
    identity: dict[str, Any]  # a run resumes only if this equals the checkpoint's
    environment: dict[str, Any]  # hardware and versions with which the run started
    clock: Clock = field(default_factory=Clock)
    start: int = 0
    rows: list[Row] = field(default_factory=list)  # the record so far
    first_batch: Batch | None = None  # kept if layer statistics need it later
    extension: Extension | None = None  # if the run starts from a shallower net
    weights_layout: str | None = None  # describes the weights file that the run starts from

    def parts(self) -> dict[str, Any]:
        """The parts that a checkpoint saves. Batches are not: the iteration determines them."""
        return {
            "net": self.net,
            "statistics": self.statistics,  # after the net, because it replaces running statistics
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "schedule": self.schedule,
            "meter": self.meter,
            "clock": self.clock,
        }

    def probe_batch(self) -> Batch:
        """Return this process's part of the run's first batch, used for layer statistics."""
        if self.first_batch is not None:
            return self.first_batch
        with closing(self.batches.training(0, 1)) as batches:
            batch = next(batches)
        if self.plan.signals_every is not None:
            self.first_batch = batch
        return batch

    def save(self, iteration: int) -> None:
        """Write a checkpoint; call this after an update and before its measurements."""
        with self.statistics.averaged():
            states = {name: part.state_dict() for name, part in self.parts().items()}
            rows = [format_row(row) for row in self.rows]
            if self.world.is_main:
                save_checkpoint(
                    self.folder,
                    Checkpoint(iteration, self.identity, states, rows, self.environment),
                    self.plan.keep_every,
                )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state from a checkpoint.

        Raises CheckpointError if it belongs to another run or was written by another version.
        """
        problem = describe_first_difference(checkpoint.fingerprint, self.identity)
        if problem is None:
            parts = self.parts()
            if checkpoint.parts.keys() != parts.keys():
                raise other_version_error(self.folder)
            try:
                for name, part in parts.items():
                    part.load_state_dict(checkpoint.parts[name])
                self.rows = [
                    parse_row(dict(zip(COLUMNS, cells, strict=True)), Row)
                    for cells in checkpoint.rows
                ]
            except RuntimeError as error:  # the code of a custom block was changed
                problem = str(error).strip().splitlines()[-1].strip()
            except (KeyError, TypeError, ValueError) as error:
                raise other_version_error(self.folder) from error
        if problem is not None:
            raise CheckpointError(
                f"the checkpoints in {self.folder} belong to another run: {problem}. "
                f"Undo the change, or move {self.folder} away to start over"
            )
        # Version 0.1.0 did not record runtime.compile.
        initial_environment = {"runtime.compile": "none", **checkpoint.environment}
        if difference := describe_first_difference(
            initial_environment, self.environment, default="unknown"
        ):
            warnings.warn(
                f"{self.name} resumes under different conditions than it started with, so "
                f"results will differ slightly: {difference}",
                stacklevel=2,
            )
        self.environment = initial_environment
        self.start = checkpoint.iteration
