"""Runs as files: what a run folder holds, and how to read it. Nothing here needs a trainer.

A run folder holds `config.yaml`, `classes.json`, `metrics.csv` (the record), TensorBoard's events
(a view of the record), `checkpoints/`, `skipped.csv` if unreadable images were left out,
`signals.csv` if signals were recorded, `extension.json` if it began as a shallower net, and, once
the run is finished, `responses.csv` and `summary.json`. What is measured of it later is in
`evaluations/` and `inspection/`.
"""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import UserError

RESTORE = (
    "the run's command restores it from the last checkpoint (delete summary.json first, if there "
    "is one)"
)
HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class Row:
    """One row of metrics.csv, after `iteration` updates.

    Errors are in percent. The training loss and error are those of the augmented batches seen
    since the row before, in training mode; the held-out ones are of all images, in evaluation
    mode, and None where they were not measured. `seconds` is the run's time so far.
    """

    iteration: int
    epoch: float
    lr: float
    train_loss: float
    train_error: float
    val_error: float | None
    test_error: float | None
    images_per_second: float
    seconds: float

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return _first_measured(self.val_error, self.test_error)


COLUMNS = [column.name for column in fields(Row)]


def format_row(row: Row) -> list[str]:
    """The cells of a row; empty where nothing was measured."""
    digits = {"epoch": ".8g", "lr": ".8g", "images_per_second": ".1f", "seconds": ".2f"}
    return [
        ""
        if value is None
        else format(value, digits.get(name, "" if name == "iteration" else ".6f"))
        for name, value in asdict(row).items()
    ]


def parse_row(cells: dict[str, str]) -> Row:
    """The row of these cells; raises ValueError or KeyError if they are not one."""
    if None in cells:
        raise ValueError("there are more cells than columns")
    numbers: dict[str, Any] = {
        name: float(cells[name]) if cells[name] else None for name in COLUMNS
    }
    optional = {f"{name}_error" for name in HELD_OUT}
    if any(value is None for name, value in numbers.items() if name not in optional):
        raise ValueError("a cell is empty")
    return Row(**{**numbers, "iteration": int(cells["iteration"])})


def as_recorded(row: Row) -> Row:
    """The row as it is read back from the file, where numbers are rounded."""
    return parse_row(dict(zip(COLUMNS, format_row(row), strict=True)))


def read_metrics(folder: Path) -> list[Row]:
    """The rows of a run's metrics.csv; raises UserError, naming the line, if it is no record."""
    file = folder / "metrics.csv"
    if not file.is_file():
        raise UserError(f"{folder} is no run folder: it has no metrics.csv")
    rows, problem = _parse(file)
    if problem:
        raise UserError(f"{file}, {problem}. If another program saved the file, {RESTORE}")
    return rows


def read_whole_rows(folder: Path) -> list[Row]:
    """The rows up to the first that is cut off, as the last one may be after a power cut."""
    file = folder / "metrics.csv"
    return _parse(file)[0] if file.is_file() else []


def _parse(file: Path) -> tuple[list[Row], str]:
    """The rows up to the first bad line, and what is wrong with that (empty if nothing)."""
    rows: list[Row] = []
    # Spreadsheets begin a file with a byte order mark.
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines(keepends=True)
    torn = bool(lines) and not lines[-1].endswith("\n")  # what is there of it may look whole
    reader = csv.DictReader(lines[:-1] if torn else lines)
    try:
        if reader.fieldnames != COLUMNS:
            return rows, f"line 1: expected the columns {','.join(COLUMNS)}"
        for cells in reader:
            row = parse_row(cells)
            if rows and row.iteration <= rows[-1].iteration:
                raise ValueError(f"iteration {row.iteration} comes after {rows[-1].iteration}")
            rows.append(row)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        return rows, f"line {reader.line_num}: {error}"
    return rows, f"line {len(lines)}: it is cut off" if torn else ""


def write_metrics(folder: Path, rows: Iterable[Row]) -> None:
    """Replace a run's metrics.csv by these rows, at once or not at all."""
    with atomic_write(folder / "metrics.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(format_row(row) for row in rows)


def _first_measured(*errors: float | None) -> float | None:
    return next((error for error in errors if error is not None), None)
