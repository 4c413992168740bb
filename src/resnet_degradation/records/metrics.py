"""metrics.csv, the record of a run."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_degradation.records.csv_tables import column_names, format_row, parse_row, write_table
from resnet_degradation.system.errors import UserError

RESTORE = (
    "the run's command restores it from the last checkpoint (delete summary.json first, if there "
    "is one)"
)


def _formatted(digits: str) -> Any:
    return field(metadata={"format": digits})


@dataclass(frozen=True)
class Row:
    """One row of metrics.csv, after `iteration` iterations.

    Errors are in percent. The training loss and error are those of the augmented batches since
    the last row, in training mode. The held-out errors are those of all images, in evaluation
    mode; None if not measured. `seconds` is the run's time so far.
    """

    iteration: int
    epoch: float = _formatted(".8g")
    lr: float = _formatted(".8g")
    train_loss: float = _formatted(".6f")
    train_error: float = _formatted(".6f")
    val_error: float | None = _formatted(".6f")
    test_error: float | None = _formatted(".6f")
    images_per_second: float = _formatted(".1f")
    seconds: float = _formatted(".2f")

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return self.test_error if self.val_error is None else self.val_error


COLUMNS = column_names(Row)


def as_recorded(row: Row) -> Row:
    """The row as it is read back from the file, where numbers are rounded."""
    return parse_row(dict(zip(COLUMNS, format_row(row), strict=True)), Row)


def write_metrics(folder: Path, rows: Sequence[Row]) -> None:
    """Replace a run's metrics.csv atomically."""
    write_table(folder / "metrics.csv", rows, Row)


def read_metrics(folder: Path) -> list[Row]:
    """The rows of a run's metrics.csv; raises UserError, naming the line, if it is damaged."""
    file = folder / "metrics.csv"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no metrics.csv")
    rows, problem = _parse(file)
    if problem:
        raise UserError(f"{file}, {problem}. If another program saved the file, {RESTORE}")
    return rows


def read_whole_rows(folder: Path) -> list[Row]:
    """The rows before the first damaged one: a power cut can cut off the last row."""
    file = folder / "metrics.csv"
    return _parse(file)[0] if file.is_file() else []


def _parse(file: Path) -> tuple[list[Row], str]:
    """The rows before the first bad line, and what is wrong with it (empty if nothing)."""
    rows: list[Row] = []
    # Spreadsheets start a file with a byte order mark.
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines(keepends=True)
    torn = bool(lines) and not lines[-1].endswith("\n")  # a cut-off row may look whole
    reader = csv.DictReader(lines[:-1] if torn else lines)
    try:
        if reader.fieldnames != COLUMNS:
            return rows, f"line 1: expected the columns {','.join(COLUMNS)}"
        for cells in reader:
            row = parse_row(cells, Row)
            if rows and row.iteration <= rows[-1].iteration:
                raise ValueError(f"iteration {row.iteration} comes after {rows[-1].iteration}")
            rows.append(row)
    except (KeyError, ValueError, csv.Error) as error:
        return rows, f"line {reader.line_num}: {error}"
    return rows, f"line {len(lines)}: it is cut off" if torn else ""
