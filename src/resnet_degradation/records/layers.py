"""Statistics of a net's layers: signals.csv while it trains, responses.csv of a finished run."""

import csv
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from resnet_degradation.records.csv_tables import parse_row, read_table, write_table
from resnet_degradation.records.inspection import LayerStatsRow
from resnet_degradation.records.metrics import RESTORE


@dataclass(frozen=True)
class Response:
    """One row of responses.csv: the standard deviation of a 3x3 layer's output (figure 7).

    `layer` counts the 3x3 layers from 1, in order; `name` is the convolution's.
    """

    layer: int
    name: str
    std: float


@dataclass(frozen=True)
class LayerStats:
    """What passes through a layer with weights, forward and backward.

    `layer` counts the layers on the main path from 1.
    """

    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


LayerStatsLog = dict[int, list[LayerStats]]  # by the iteration after which they were measured


def layer_stats_rows(log: LayerStatsLog) -> list[LayerStatsRow]:
    """The rows of signals.csv."""
    return [
        LayerStatsRow(iteration, **asdict(layer)) for iteration in log for layer in log[iteration]
    ]


def write_layer_stats(folder: Path, log: LayerStatsLog) -> None:
    """Write a run's signals.csv."""
    write_table(folder / "signals.csv", layer_stats_rows(log), LayerStatsRow)


def read_layer_stats(folder: Path) -> LayerStatsLog:
    """What signals.csv holds, up to the first row that is cut off; empty without that file."""
    log: LayerStatsLog = {}
    with (
        suppress(FileNotFoundError, KeyError, ValueError),
        (folder / "signals.csv").open(newline="", encoding="utf-8", errors="replace") as stream,
    ):
        for cells in csv.DictReader(stream):
            stats = vars(parse_row(cells, LayerStatsRow)).copy()
            log.setdefault(stats.pop("iteration"), []).append(LayerStats(**stats))
    return log


def write_responses(folder: Path, responses: list[Response]) -> None:
    """Write a run's responses.csv."""
    write_table(folder / "responses.csv", responses, Response)


def read_responses(folder: Path) -> list[Response]:
    """The layer responses of a finished run; raises UserError if they are missing."""
    remedy = f"it is written when a run is finished. If this one is, {RESTORE}"
    return read_table(folder / "responses.csv", Response, remedy)
