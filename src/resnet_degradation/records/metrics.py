"""Reads and writes metrics.csv, which records the errors of a run during training."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_degradation.records.csv_tables import column_names, format_row, parse_row, write_table
from resnet_degradation.system.errors import UserError

RESTORE_HINT = (
    "the run's command restores it from the last checkpoint (first delete summary.json if it "
    "exists)"
)


def _field_with_format(spec: str) -> Any:
    return field(metadata={"format": spec})


@dataclass(frozen=True)
class Row:
    """One row of metrics.csv, after `iteration` iterations.

    Errors are in percent. The training loss and error are averages over the augmented batches since
    the last row, in training mode. The validation and test errors cover all images of their split,
    in evaluation mode; they are None if they were not measured. `seconds` is the time spent on the
    run so far.
    """

    iteration: int
    epoch: float = _field_with_format(".8g")
    lr: float = _field_with_format(".8g")
    train_loss: float = _field_with_format(".6f")
    train_error: float = _field_with_format(".6f")
    val_error: float | None = _field_with_format(".6f")
    test_error: float | None = _field_with_format(".6f")
    images_per_second: float = _field_with_format(".1f")
    seconds: float = _field_with_format(".2f")

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return self.test_error if self.val_error is None else self.val_error


COLUMNS = column_names(Row)


def round_as_recorded(row: Row) -> Row:
    """Round the numbers of a row as writing and reading metrics.csv would."""
    return parse_row(dict(zip(COLUMNS, format_row(row), strict=True)), Row)


def write_metrics(folder: Path, rows: Sequence[Row]) -> None:
    """Replace a run's metrics.csv atomically."""
    write_table(folder / "metrics.csv", rows, Row)


def read_metrics(folder: Path) -> list[Row]:
    """Read a run's metrics.csv; raise UserError if it is missing or damaged."""
    file = folder / "metrics.csv"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no metrics.csv")
    rows, problem = _parse_valid_rows(file)
    if problem:
        raise UserError(f"{file}, {problem}. If another program saved the file, {RESTORE_HINT}")
    return rows


def read_valid_rows(folder: Path) -> list[Row]:
    """Read metrics.csv up to the first damaged row: a power cut can truncate the last one."""
    file = folder / "metrics.csv"
    return _parse_valid_rows(file)[0] if file.is_file() else []


def _parse_valid_rows(file: Path) -> tuple[list[Row], str]:
    """The rows before the first invalid line, and what is wrong with this line, or ""."""
    rows: list[Row] = []
    # utf-8-sig: spreadsheet programs put a byte order mark at the start.
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines(keepends=True)
    is_cut_off = bool(lines) and not lines[-1].endswith("\n")  # even if the row looks valid
    reader = csv.DictReader(lines[:-1] if is_cut_off else lines)
    try:
        if reader.fieldnames != COLUMNS:
            return rows, f"line 1: expected the columns {','.join(COLUMNS)}"
        for cells in reader:
            row = parse_row(cells, Row)
            if rows and row.iteration <= rows[-1].iteration:
                raise ValueError(
                    f"iteration {row.iteration} comes after iteration {rows[-1].iteration}"
                )
            rows.append(row)
    except (KeyError, ValueError, csv.Error) as error:
        return rows, f"line {reader.line_num}: {error}"
    return rows, f"line {len(lines)}: it is cut off" if is_cut_off else ""
