"""Dataclasses as rows of CSV files, with a column for each field."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import UserError, describe_os_error

RowType = TypeVar("RowType")
PARSERS: dict[Any, Any] = {
    int: int,
    float: float,
    str: str,
    bool: lambda text: text == "True",
    float | None: lambda text: float(text) if text else None,
}
_TYPES: dict[Any, dict[str, Any]] = {}  # a cache for column_types, which is called for every row


def column_names(row_type: type[Any]) -> list[str]:
    """The header of a table."""
    return [column.name for column in fields(row_type)]


def column_types(row_type: type[Any]) -> dict[str, Any]:
    """The type of each column; raises TypeError, naming the column, if a type is not supported."""
    if row_type in _TYPES:
        return _TYPES[row_type]
    try:
        hints = get_type_hints(row_type)  # annotations may be strings
    except NameError as error:
        raise TypeError(f"{row_type.__name__}: {error}") from error
    types = {name: hints[name] for name in column_names(row_type)}
    for name, its_type in types.items():
        if its_type not in PARSERS:
            raise TypeError(
                f"{row_type.__name__}.{name} is a {getattr(its_type, '__name__', its_type)}: use "
                "int, float, str, bool or float | None"
            )
    return _TYPES.setdefault(row_type, types)


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
    types = column_types(row_type)
    return row_type(**{name: PARSERS[types[name]](cells[name]) for name in types})


def write_table(file: Path, rows: Sequence[RowType], row_type: type[RowType]) -> None:
    """Write a whole table atomically."""
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column_names(row_type))
        writer.writerows(map(format_row, rows))


class PartialTable(Generic[RowType]):
    """The rows of an unfinished table, saved one by one so that an interruption loses none.

    key: identifies the table; rows that were saved under another key are dropped. Delete the file
        once the whole table is written elsewhere.
    """

    def __init__(self, file: Path, row_type: type[RowType], key: str) -> None:
        self.file, self.rows = file, self._read(file, row_type, key)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as stream:
            stream.write(f"{key}\n")
            csv.writer(stream, lineterminator="\n").writerow(column_names(row_type))
            csv.writer(stream, lineterminator="\n").writerows(map(format_row, self.rows))

    @staticmethod
    def _read(file: Path, row_type: type[RowType], key: str) -> list[RowType]:
        if not file.is_file():
            return []
        first, *lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        if first != key:
            return []
        with suppress(ValueError, KeyError, csv.Error):
            # The last line is empty, or was cut off by an interruption.
            return [parse_row(cells, row_type) for cells in csv.DictReader(lines[:-1])]
        return []

    def add(self, row: RowType) -> None:
        """Append a row to the file."""
        self.rows.append(row)
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerow(format_row(row))


def read_table(file: Path, row_type: type[RowType], remedy: str) -> list[RowType]:
    """The rows of a table.

    Raises UserError, ending with `remedy` if the file is missing or damaged.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [parse_row(cells, row_type) for cells in csv.DictReader(stream)]
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: {remedy}") from error
    except OSError as error:
        raise UserError(f"a table cannot be read ({describe_os_error(error)})") from error
    except (KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{file} is damaged ({error}): {remedy}") from error
