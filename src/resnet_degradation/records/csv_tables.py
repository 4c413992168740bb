"""Dataclasses as rows of CSV files, with a column for each field."""

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import UserError

RowType = TypeVar("RowType")
PARSERS: dict[Any, Any] = {
    int: int,
    float: float,
    str: str,
    bool: lambda text: text == "True",
    float | None: lambda text: float(text) if text else None,
}


def column_names(row_type: type[Any]) -> list[str]:
    """The header of a table."""
    return [column.name for column in fields(row_type)]


def format_row(row: Any) -> list[str]:
    """The cells of a row: floats have 6 digits, or the field's "format"; None is empty."""
    cells = []
    for column in fields(row):
        value = getattr(row, column.name)
        spec = column.metadata.get("format", ".6g" if isinstance(value, float) else "")
        cells.append("" if value is None else format(value, spec))
    return cells


def parse_row(cells: dict[str, str], row_type: type[RowType]) -> RowType:
    """The row from its cells by column; raises ValueError or KeyError if they do not fit."""
    if None in cells or None in cells.values():
        raise ValueError("the numbers of cells and columns differ")
    columns: Any = fields(row_type)  # type: ignore[arg-type]
    return row_type(**{column.name: PARSERS[column.type](cells[column.name]) for column in columns})


def write_table(file: Path, rows: Sequence[RowType], row_type: type[RowType]) -> None:
    """Write a whole table atomically."""
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column_names(row_type))
        writer.writerows(map(format_row, rows))


def read_table(file: Path, row_type: type[RowType], remedy: str) -> list[RowType]:
    """The rows of a table.

    Raises UserError, ending with `remedy`, if the file is missing or damaged.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [parse_row(cells, row_type) for cells in csv.DictReader(stream)]
    except OSError as error:
        raise UserError(f"{file} is missing: {remedy}") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{file} is damaged ({error}): {remedy}") from error
