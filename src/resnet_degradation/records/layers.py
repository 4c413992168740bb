"""Runs as files: what a run folder holds, and how to read it. Nothing here needs a trainer.

A run folder holds `config.yaml`, `classes.json`, `metrics.csv` (the record), TensorBoard's events
(a view of the record), `checkpoints/`, `skipped.csv` if unreadable images were left out,
`signals.csv` if signals were recorded, `extension.json` if it began as a shallower net, and, once
the run is finished, `responses.csv` and `summary.json`. What is measured of it later is in
`evaluations/` and `inspection/`.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from resnet_degradation.records.csv_tables import read_table, write_table
from resnet_degradation.records.metrics import RESTORE
from resnet_degradation.system.atomic_files import atomic_write


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
    """What passes through a layer with weights, forward and backward (see inspect/signals.py).

    `layer` counts the layers on the main path from 1; `name` is the layer's.
    """

    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


LAYER_STATS_COLUMNS = ["iteration", *(column.name for column in fields(LayerStats))]
LayerStatsLog = dict[int, list[LayerStats]]  # by the iteration after which they were measured


def format_layer_stats(iteration: int, signals: Iterable[LayerStats]) -> list[list[str]]:
    """The rows of signals.csv for one iteration."""
    return [
        [
            str(iteration),
            str(signal.layer),
            signal.name,
            *(f"{v:.6g}" for v in (signal.signal_std, signal.gradient_norm, signal.weight_norm)),
        ]
        for signal in signals
    ]


def write_layer_stats(folder: Path, signals: LayerStatsLog) -> None:
    """Replace a run's signals.csv, at once or not at all."""
    with atomic_write(folder / "signals.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(LAYER_STATS_COLUMNS)
        for iteration, of_layers in signals.items():
            writer.writerows(format_layer_stats(iteration, of_layers))


def read_layer_stats(folder: Path) -> LayerStatsLog:
    """What signals.csv holds, up to the first row that is cut off; nothing if there is none."""
    signals: LayerStatsLog = {}
    file = folder / "signals.csv"
    if not file.is_file():
        return signals
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        for row in csv.DictReader(stream):
            try:
                signal = LayerStats(
                    int(row["layer"]),
                    row["name"],
                    float(row["signal_std"]),
                    float(row["gradient_norm"]),
                    float(row["weight_norm"]),
                )
                signals.setdefault(int(row["iteration"]), []).append(signal)
            except (KeyError, TypeError, ValueError):
                break
    return signals


def write_responses(folder: Path, responses: list[Response]) -> None:
    """Write the whole of a run's responses.csv."""
    write_table(folder / "responses.csv", responses, Response)


def read_responses(folder: Path) -> list[Response]:
    """The layer responses of a finished run; raises UserError if they are not there."""
    remedy = f"it is written when a run is finished. If this one is, {RESTORE}"
    return read_table(folder / "responses.csv", Response, remedy)
