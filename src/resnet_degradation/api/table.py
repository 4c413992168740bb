"""Tables of records, by column."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


class Table(Mapping[str, Column]):
    """The columns of a table, keyed by their names; missing numbers are NaN."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = {
            name: np.array([np.nan if value is None else value for value in values])
            for name, values in columns.items()
        }

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            raise KeyError(f"there is no column {name!r}; valid: {', '.join(self)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        num_rows = max(map(len, self._columns.values()), default=0)
        return f"<{num_rows} rows of {', '.join(self)}>"

    def to_pandas(self) -> Any:
        """Convert to a pandas.DataFrame; raises ImportError if pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        return pd.DataFrame(self._columns)


def read_table(file: Path) -> Table:
    """Read a CSV file whose columns contain numbers, booleans or text."""
    with file.open(newline="", encoding="utf-8") as stream:
        names, *rows = csv.reader(stream)
    return Table({name: _parse_cells([row[i] for row in rows]) for i, name in enumerate(names)})


def _parse_cells(cells: list[str]) -> list[Any]:
    if set(cells) <= {"True", "False"}:
        return [cell == "True" for cell in cells]
    for number in (int, float):
        try:
            return [number(cell) if cell or number is int else None for cell in cells]
        except ValueError:
            continue
    return cells
