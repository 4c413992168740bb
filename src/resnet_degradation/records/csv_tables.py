"""CSV tables whose rows are dataclass instances, with a column for each field."""

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
_TYPES: dict[Any, dict[str, Any]] = {}  # a cache: column_types is called for every row


def column_names(row_type: type[Any]) -> list[str]:
    """The column names of a table: the names of the fields."""
    return [column.name for column in fields(row_type)]


def column_types(row_type: type[Any]) -> dict[str, Any]:
    """The type of each column; raises TypeError for an unsupported type."""
    if row_type in _TYPES:
        return _TYPES[row_type]
    try:
        hints = get_type_hints(row_type)  # annotations may be strings
    except NameError as error:
        raise TypeError(f"{row_type.__name__}: {error}") from error
    types = {name: hints[name] for name in column_names(row_type)}
    for name, column_type in types.items():
        if column_type not in PARSERS:
            raise TypeError(
                f"{row_type.__name__}.{name} is a "
                f"{getattr(column_type, '__name__', column_type)}: use int, float, str, bool or "
                "float | None"
            )
    return _TYPES.setdefault(row_type, types)


def format_row(row: Any) -> list[str]:
    """Format the cells of a row; None becomes an empty cell.

    Floats have 6 significant digits unless the field's metadata sets another "format".
    """
    cells = []
    for column in fields(row):
        value = getattr(row, column.name)
        spec = column.metadata.get("format", ".6g" if isinstance(value, float) else "")
        cells.append("" if value is None else format(value, spec))
    return cells


def parse_row(cells: dict[str, str], row_type: type[RowType]) -> RowType:
    """Parse a row from its cells, keyed by column name.

    Raises ValueError or KeyError if the cells do not match the fields of `row_type`.
    """
    if None in cells or None in cells.values():
        raise ValueError("the number of cells differs from the number of columns")
    types = column_types(row_type)
    return row_type(**{name: PARSERS[types[name]](cells[name]) for name in types})


def write_table(file: Path, rows: Sequence[RowType], row_type: type[RowType]) -> None:
    """Write a table atomically."""
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column_names(row_type))
        writer.writerows(map(format_row, rows))


class PartialTable(Generic[RowType]):
    """An unfinished table. Each row is saved at once, so that an interruption loses none.

    The constructor reads the rows of an earlier process if they were saved with the same `key`,
    and drops them otherwise. Delete the file once the finished table is written elsewhere.
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
        saved_key, *lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        if saved_key != key:
            return []
        with suppress(ValueError, KeyError, csv.Error):
            # The last line is empty, or an interruption has cut it off.
            return [parse_row(cells, row_type) for cells in csv.DictReader(lines[:-1])]
        return []

    def add(self, row: RowType) -> None:
        """Append a row to the file."""
        self.rows.append(row)
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerow(format_row(row))


def read_table(file: Path, row_type: type[RowType], remedy: str) -> list[RowType]:
    """Read the rows of a table.

    Raises UserError if this fails. The message ends with `remedy` if the file is missing or
    damaged.
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
