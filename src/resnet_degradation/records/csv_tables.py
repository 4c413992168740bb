"""Dataclasses as rows of CSV files: a column for each field, of type int, float, str or bool."""

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import UserError

Kind = TypeVar("Kind")
PARSERS = {"int": int, "float": float, "str": str, "bool": lambda text: text == "True"}


def write_table(file: Path, rows: Sequence[Kind], kind: type[Kind]) -> None:
    """Write the whole of a table, at once or not at all; floats with six digits."""
    names = [column.name for column in fields(kind)]  # type: ignore[arg-type]
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            values = (getattr(row, name) for name in names)
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])


def read_table(file: Path, kind: type[Kind], remedy: str) -> list[Kind]:
    """The rows of a table.

    Raises UserError if there is none, or it is damaged, with what to do then: `remedy`.
    """
    types: dict[str, Any] = {
        column.name: PARSERS[getattr(column.type, "__name__", str(column.type))]
        for column in fields(kind)  # type: ignore[arg-type]
    }
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [
                kind(**{name: parse(row[name]) for name, parse in types.items()})
                for row in csv.DictReader(stream)
            ]
    except OSError as error:
        raise UserError(f"{file} is not there: {remedy}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{file} is damaged ({error}): {remedy}") from error
