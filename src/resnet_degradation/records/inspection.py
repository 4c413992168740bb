"""The tables of measurements in a run's inspection/ folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from resnet_degradation.records import csv_tables

FOLDER = "inspection"
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class LayerStatsRow:
    """What passes through one layer after `iteration` iterations; see `LayerStats`."""

    iteration: int
    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


@dataclass(frozen=True)
class BlockSizes:
    """Euclidean norms of what a block adds up, averaged over images.

    `ratio` is the mean over images of the branch's norm divided by the shortcut's.
    """

    block: int  # counted from 1
    name: str
    branch: float  # F(x)
    shortcut: float  # x, or its projection
    ratio: float
    is_identity: bool  # whether the shortcut is x itself


@dataclass(frozen=True)
class LesionRow:
    """The error in percent without `count` blocks, whose names are joined by spaces.

    `position` counts a single block among all of the net, from 1; it is 0 for several or none.
    `of` is the number of the net's blocks.
    """

    count: int
    position: int
    of: int
    blocks: str
    error: float


def read_table(file: Path, kind: type[Kind]) -> list[Kind]:
    """The rows of a table in inspection/; raises UserError if it is missing or damaged."""
    return csv_tables.read_table(file, kind, "inspect the run again")
