"""Runs as files: what a run folder holds, and how to read it. Nothing here needs a trainer.

A run folder holds `config.yaml`, `classes.json`, `metrics.csv` (the record), TensorBoard's events
(a view of the record), `checkpoints/`, `skipped.csv` if unreadable images were left out,
`signals.csv` if signals were recorded, `extension.json` if it began as a shallower net, and, once
the run is finished, `responses.csv` and `summary.json`. What is measured of it later is in
`evaluations/` and `inspection/`.
"""

import csv
import json
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from resnet_degradation import __version__
from resnet_degradation.config import Config, digest, run_name
from resnet_degradation.errors import UserError
from resnet_degradation.files import replaced
from resnet_degradation.tables import read_table, write_table

HELD_OUT = ("val", "test")
RESTORE = (
    "the run's command restores it from the last checkpoint (delete summary.json first, if there "
    "is one)"
)
_CHECKPOINT = re.compile(r"iteration-(\d{1,12})\b.*\.pt$")


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


def find_runs(folder: Path) -> list[Path]:
    """Every run folder at or below `folder`, sorted; those that a study names, if it is a study's.

    Links to folders are followed. Raises UserError if there is none.
    """
    if (index := folder / "study.json").is_file():
        try:
            return [folder / str(run) for run in json.loads(index.read_bytes())["runs"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{index} is no index of a study: {error}") from error
    found, seen = [], set()
    for path, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:
            folders.clear()  # a link led back here
        elif "metrics.csv" in files:
            found.append(Path(path))
        seen.add(real)
    if not found:
        raise UserError(f"no run in {folder}: looked for metrics.csv in it and below it")
    return sorted(found)


def without_copies(folders: list[Path]) -> list[Path]:
    """These run folders, and of several that hold the same run the one that got furthest.

    A copy of a run folder, such as a backup, is not another seed. Warns of each that is left out.
    """
    furthest: dict[str, Path] = {}
    for folder in folders:
        config = read_config(folder)
        kept = furthest.setdefault(digest(config), folder)
        if folder.resolve() == kept.resolve():
            continue
        left_out = min(folder, kept, key=_progress)
        if left_out is kept:
            furthest[digest(config)] = folder
        warnings.warn(
            f"{left_out} is left out: {furthest[digest(config)]} holds the same run, "
            f"{run_name(config)} with the same settings",
            stacklevel=2,
        )
    return [folder for folder in dict.fromkeys(folders) if folder in furthest.values()]


def _progress(folder: Path) -> int:
    """How far a run got: the iteration of the last row of its record."""
    rows = read_whole_rows(folder)
    return rows[-1].iteration if rows else 0


def read_config(folder: Path) -> Config:
    """The settled configuration of a run; raises UserError if there is none that can be read."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(file))
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise UserError(
            f"{file} has the setting {error.full_key}, which version {__version__} of "
            f"resnet-degradation does not know: use the version that made the run{made_by(folder)}"
        ) from error
    except (OSError, OmegaConfBaseException, YAMLError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} is no configuration of a run: {str(error).splitlines()[0]}"
        ) from error
    assert isinstance(config, Config)
    return config


def made_by(folder: Path) -> str:
    """The version that made a run, as ", 0.3.0"; empty before the run is finished."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        return f", {summary['versions']['resnet-degradation']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
    with replaced(folder / "metrics.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(format_row(row) for row in rows)


@dataclass(frozen=True)
class Response:
    """One row of responses.csv: the standard deviation of a 3x3 layer's output (figure 7).

    `layer` counts the 3x3 layers from 1, in order; `name` is the convolution's.
    """

    layer: int
    name: str
    std: float


@dataclass(frozen=True)
class Signal:
    """What passes through a layer with weights, forward and backward (see inspect/signals.py).

    `layer` counts the layers on the main path from 1; `name` is the layer's.
    """

    layer: int
    name: str
    signal_std: float
    gradient_norm: float
    weight_norm: float


SIGNAL_COLUMNS = ["iteration", *(column.name for column in fields(Signal))]
Signals = dict[int, list[Signal]]  # by the iteration after which they were measured


def format_signals(iteration: int, signals: Iterable[Signal]) -> list[list[str]]:
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


def write_signals(folder: Path, signals: Signals) -> None:
    """Replace a run's signals.csv, at once or not at all."""
    with replaced(folder / "signals.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SIGNAL_COLUMNS)
        for iteration, of_layers in signals.items():
            writer.writerows(format_signals(iteration, of_layers))


def read_signals(folder: Path) -> Signals:
    """What signals.csv holds, up to the first row that is cut off; nothing if there is none."""
    signals: Signals = {}
    file = folder / "signals.csv"
    if not file.is_file():
        return signals
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        for row in csv.DictReader(stream):
            try:
                signal = Signal(
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


def write_classes(folder: Path, classes: list[str]) -> None:
    """Write the names of the classes that a run tells apart, in the order of its scores."""
    with replaced(folder / "classes.json") as stream:
        json.dump(classes, stream, indent=2)
        stream.write("\n")


def read_classes(folder: Path) -> list[str] | None:
    """The classes of a run in the order of its scores, or None if it did not write them down."""
    try:
        return [str(name) for name in json.loads((folder / "classes.json").read_bytes())]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / 'classes.json'} is damaged: {error}") from error


def num_skipped_images(folder: Path) -> int:
    """How many images a run left out because they could not be read."""
    file = folder / "skipped.csv"
    if not file.is_file():
        return 0
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def read_extension(folder: Path) -> dict[str, Any] | None:
    """What a run that began with a shallower net's solution was then like, or None if none did."""
    file = folder / "extension.json"
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_bytes()))
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}") from error


@dataclass(frozen=True)
class FinalErrors:
    """Errors at the end of a run, in percent.

    `train_error` is counted on the augmented images of the last epoch, or of the last tenth of
    the run where that is shorter; `num_train_images` says on how many. The others are those of
    the last iterate, never of the best.
    """

    train_error: float
    val_error: float | None
    test_error: float | None
    num_train_images: int

    def held_out_error(self) -> float | None:
        """The validation error, or the test error of data that has no validation set."""
        return _first_measured(self.val_error, self.test_error)

    def in_percent(self) -> dict[str, float | None]:
        """The errors by their names."""
        return {
            "train_error": self.train_error,
            "val_error": self.val_error,
            "test_error": self.test_error,
        }

    def __str__(self) -> str:
        named = (("validation", self.val_error), ("test", self.test_error))
        parts = [f"{name} error {error:.2f} %" for name, error in named if error is not None]
        last = f"last {self.num_train_images:,} images"
        return ", ".join([f"final training error {self.train_error:.2f} % ({last})", *parts])


def _first_measured(*errors: float | None) -> float | None:
    return next((error for error in errors if error is not None), None)


def read_final_errors(folder: Path) -> FinalErrors:
    """The final errors of a finished run; raises UserError if it is not finished."""
    return summarised_errors(read_summary(folder))


def summarised_errors(summary: dict[str, Any]) -> FinalErrors:
    """The final errors that the summary of a run holds."""
    return FinalErrors(
        **summary["final_errors_percent"], num_train_images=summary["final_train_images"]
    )


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a run folder, newest first.

    Raises OSError if they cannot be listed, so that nobody takes them to be none.
    """
    try:
        files = list((folder / "checkpoints").iterdir())
    except FileNotFoundError:
        return []
    found = [file for file in files if _CHECKPOINT.match(file.name)]
    return sorted(found, key=checkpoint_iteration, reverse=True)


def checkpoint_iteration(file: Path) -> int:
    """The iteration that a checkpoint's name tells."""
    match = _CHECKPOINT.match(file.name)
    assert match is not None
    return int(match[1])


def last_checkpoint(folder: Path) -> int:
    """The iteration of the newest checkpoint in a run folder, 0 if there is none."""
    files = checkpoint_files(folder)
    return checkpoint_iteration(files[0]) if files else 0


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end."""
    return (folder / "summary.json").is_file()


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; raises UserError if it is not finished, or damaged."""
    if not is_finished(folder):
        raise UserError(f"{folder} holds no finished run: it has no summary.json")
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_bytes())
        summarised_errors(summary)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: delete it and repeat the run's command, which goes on from the "
            "last checkpoint"
        ) from error
    return dict(summary)
