"""Tables of a net's layers and blocks.

In a run folder, signals.csv is written during training and responses.csv at its end; inspection/
holds a table for each measurement of `resnet-inspect`.
"""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from resnet_degradation.records.csv_tables import PartialTable, parse_row, read_table, write_table
from resnet_degradation.records.metrics import RESTORE


@dataclass(frozen=True)
class Response:
    """The standard deviation of a 3x3 layer's output (figure 7).

    `layer` counts the 3x3 layers from 1, in order; `name` is the name of the convolution.
    """

    layer: int
    name: str
    std: float


@dataclass(frozen=True)
class LayerStats:
    """Statistics of a layer with weights in the forward and backward pass: a row of signals.csv.

    `iteration` is the number of iterations trained before; `layer` counts the layers of the main
    path from 1.
    """

    iteration: int
    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


@dataclass(frozen=True)
class ResidualNorms:
    """Euclidean norms of the two terms that a block adds, averaged over images."""

    block: int  # counted from 1
    name: str
    branch: float  # ||F(x)||
    shortcut: float  # ||shortcut(x)||, where shortcut(x) is x, or x projected or downsampled
    ratio: float  # ||F(x)|| / ||shortcut(x)||, computed per image, then averaged
    is_identity: bool  # whether the shortcut is x itself


@dataclass(frozen=True)
class LesionRow:
    """The error in percent without `count` blocks, whose names are joined by spaces.

    `position` is the place of a single block in the net, from 1; it is 0 for several or none.
    `of` is the number of blocks of the net.
    """

    count: int
    position: int
    of: int
    blocks: str
    error: float


LayerStatsLog = dict[int, list[LayerStats]]  # keyed by the number of iterations trained before


def write_inspection(folder: Path, name: str, rows: Sequence[Any], row: type[Any]) -> None:
    """Write one measurement of the run in `folder`, and delete its unfinished table."""
    write_table(folder / "inspection" / f"{name}.csv", rows, row)
    _unfinished(folder, name).unlink(missing_ok=True)


def unfinished_inspection(folder: Path, name: str, row: type[Any], key: str) -> PartialTable[Any]:
    """The rows of a measurement that was interrupted, to be continued; see PartialTable."""
    return PartialTable(_unfinished(folder, name), row, key)


def _unfinished(folder: Path, name: str) -> Path:
    return folder / "inspection" / f"{name}.part.csv"


def read_inspection(folder: Path, name: str, row: type[Any]) -> list[Any]:
    """The rows of one measurement; raises UserError if the table is missing or damaged."""
    return read_table(folder / "inspection" / f"{name}.csv", row, "inspect the run again")


def write_layer_stats(folder: Path, log: LayerStatsLog) -> None:
    """Write a run's signals.csv."""
    write_table(folder / "signals.csv", [*chain.from_iterable(log.values())], LayerStats)


def read_layer_stats(folder: Path) -> LayerStatsLog:
    """The rows of signals.csv before the first damaged one; empty without that file."""
    log: LayerStatsLog = {}
    with (
        suppress(FileNotFoundError, KeyError, ValueError, csv.Error),
        (folder / "signals.csv").open(newline="", encoding="utf-8", errors="replace") as stream,
    ):
        for cells in csv.DictReader(stream):
            row = parse_row(cells, LayerStats)
            log.setdefault(row.iteration, []).append(row)
    return log


def write_responses(folder: Path, responses: list[Response]) -> None:
    """Write a run's responses.csv."""
    write_table(folder / "responses.csv", responses, Response)


def read_responses(folder: Path) -> list[Response]:
    """The layer responses of a finished run; raises UserError if they are missing."""
    remedy = f"it is written when a run finishes. If this run is finished, {RESTORE}"
    return read_table(folder / "responses.csv", Response, remedy)
