"""Tables of measurements of a net's layers and blocks, in its run folder.

Training writes signals.csv while it runs and responses.csv when it ends. `resnet-inspect` writes
one table per measurement to inspection/.
"""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from resnet_degradation.records.csv_tables import PartialTable, parse_row, read_table, write_table
from resnet_degradation.records.metrics import RESTORE_HINT


@dataclass(frozen=True)
class Response:
    """The standard deviation of a 3x3 layer's output (figure 7)."""

    layer: int  # numbers the 3x3 layers from 1
    name: str  # the name of the convolution
    std: float


@dataclass(frozen=True)
class LayerStats:
    """A row of signals.csv: the forward and backward signals of a layer with weights."""

    iteration: int  # number of iterations completed before the measurement
    layer: int  # numbers the layers of the main path from 1
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


@dataclass(frozen=True)
class ResidualNorms:
    """Euclidean norms of the two terms that a block adds, averaged over images."""

    block: int  # numbers the blocks from 1
    name: str
    branch: float  # ||F(x)||
    shortcut: float  # ||shortcut(x)||, where shortcut(x) is x, or x projected or downsampled
    ratio: float  # mean over images of ||F(x)|| / ||shortcut(x)||
    is_identity: bool  # whether the shortcut is x itself


@dataclass(frozen=True)
class LesionRow:
    """The error of a net after some of its blocks are removed."""

    count: int  # number of removed blocks
    position: int  # number of the removed block, from 1; 0 if none or several are removed
    of: int  # number of blocks of the whole net
    blocks: str  # names of the removed blocks, separated by spaces
    error: float  # in percent


LayerStatsLog = dict[int, list[LayerStats]]  # keyed by LayerStats.iteration


def write_inspection(folder: Path, name: str, rows: Sequence[Any], row_type: type[Any]) -> None:
    """Write the table of one measurement of a run, and delete the unfinished table."""
    write_table(folder / "inspection" / f"{name}.csv", rows, row_type)
    _unfinished_file(folder, name).unlink(missing_ok=True)


def open_unfinished_inspection(
    folder: Path, name: str, row_type: type[Any], key: str
) -> PartialTable[Any]:
    """Open the table of an interrupted measurement, or start one; see PartialTable."""
    return PartialTable(_unfinished_file(folder, name), row_type, key)


def _unfinished_file(folder: Path, name: str) -> Path:
    return folder / "inspection" / f"{name}.part.csv"


def read_inspection(folder: Path, name: str, row_type: type[Any]) -> list[Any]:
    """Read the table of one measurement; raise UserError if it is missing or damaged."""
    return read_table(folder / "inspection" / f"{name}.csv", row_type, "inspect the run again")


def write_layer_stats(folder: Path, log: LayerStatsLog) -> None:
    """Write a run's signals.csv."""
    write_table(folder / "signals.csv", [*chain.from_iterable(log.values())], LayerStats)


def read_layer_stats(folder: Path) -> LayerStatsLog:
    """Read signals.csv up to the first damaged row; empty if there is no such file."""
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
    """Read the layer responses of a finished run; raise UserError if they are missing."""
    remedy = f"a run writes it when it finishes. If this run is finished, {RESTORE_HINT}"
    return read_table(folder / "responses.csv", Response, remedy)
