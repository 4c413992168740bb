"""What is measured of a net, as CSV files: one a kind of measurement, in a run's inspection/."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from resnet_degradation.errors import UserError
from resnet_degradation.files import replaced
from resnet_degradation.runs import Response

FOLDER = "inspection"


@dataclass(frozen=True)
class SignalRow:
    """What passes through one layer after `iteration` updates; see signals.py."""

    iteration: int
    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


@dataclass(frozen=True)
class BlockSizes:
    """Euclidean norms of what a block adds up, averaged over images; see residuals.py.

    `ratio` is the mean over images of the one norm divided by the other.
    """

    block: int  # counted from 1
    name: str
    branch: float  # of F(x)
    shortcut: float  # of x, or of what stands for it
    ratio: float
    is_identity: bool  # whether the shortcut is x itself


@dataclass(frozen=True)
class LesionRow:
    """The error in percent without `count` blocks, whose names are joined by spaces.

    `position` counts a single block among all of the net, from 1; it is 0 for several or none.
    `of` is the number of the net's blocks.
    """

    count: int
    position: int
    of: int
    blocks: str
    error: float


Kind = TypeVar("Kind", SignalRow, Response, BlockSizes, LesionRow)


def write_table(file: Path, rows: list[Kind], kind: type[Kind]) -> None:
    """Write the whole of a table."""
    file.parent.mkdir(exist_ok=True)
    with replaced(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column.name for column in fields(kind)])
        for row in rows:
            values = asdict(row).values()
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])


def read_table(file: Path, kind: type[Kind]) -> list[Kind]:
    """The rows of a table; raises UserError if there is none, or it is damaged."""
    parsers = {"int": int, "float": float, "str": str, "bool": lambda text: text == "True"}
    types: dict[str, Any] = {
        column.name: parsers[getattr(column.type, "__name__", str(column.type))]
        for column in fields(kind)
    }
    try:
        with file.open(newline="") as stream:
            return [
                kind(**{name: parse(row[name]) for name, parse in types.items()})
                for row in csv.DictReader(stream)
            ]
    except OSError as error:
        raise UserError(f"{file} is not there: inspect the run (again)") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{file} is damaged: inspect the run again ({error})") from error
