"""The results of finished runs, read from their files: per run, and per net over its seeds."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from resnet_degradation.config.identity import data_name, distinct_names, group_by_net, run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.records.layers import read_responses
from resnet_degradation.records.run_folder import count_skipped_images
from resnet_degradation.records.summary import FinalErrors, parse_final_errors, read_summary
from resnet_degradation.system.atomic_files import atomic_write

RESULT_COLUMNS = (
    *("net", "depth", "residual", "shortcut", "width", "block", "extends", "seed", "data"),
    *("iterations", "num_parameters", "multiply_adds", "train_error", "val_error", "test_error"),
    *("mean_response", "seconds", "folder"),
)
FROM_SUMMARY = (
    *("num_parameters", "multiply_adds", "iterations", "seconds", "num_classes"),
    "still_warming_up",
)


@dataclass(frozen=True)
class Result:
    """The result of one finished run; errors in percent, multiply-adds of one image."""

    config: Config
    folder: Path
    errors: FinalErrors
    num_parameters: int
    multiply_adds: int
    iterations: int
    seconds: float
    num_classes: int
    still_warming_up: bool  # at the end of the run, at the smaller learning rate
    mean_response: float | None  # mean over the 3x3 layers (figure 7), if it was recorded
    environment: dict[str, Any]  # versions, hardware, git revision
    num_skipped_images: int = 0  # unreadable ones


class NetResults(NamedTuple):
    """One net of a study: its unique name, its first configuration, and a result per seed."""

    name: str
    config: Config
    results: list[Result]


def read_result(config: Config, folder: Path | None = None) -> Result:
    """The result of the finished run of this configuration; raises UserError if there is none.

    folder: where it is, if it is not in the configuration's own folder.
    """
    folder = folder or run_folder(config)
    summary = read_summary(folder)
    responses = read_responses(folder) if (folder / "responses.csv").is_file() else []
    return Result(
        config=config,
        folder=folder,
        errors=parse_final_errors(summary),
        **{name: summary[name] for name in FROM_SUMMARY},
        mean_response=mean(layer.std for layer in responses) if responses else None,
        environment={key: summary[key] for key in ("versions", "hardware", "git_revision")},
        num_skipped_images=count_skipped_images(folder),
    )


def by_net(results: list[Result]) -> list[NetResults]:
    """The nets of these runs, each with the results of its seeds."""
    return [NetResults(*net) for net in group_by_net((result.config, result) for result in results)]


def mean_and_spread(values: Iterable[float | None]) -> str:
    """The mean of the known values, with their standard deviation if there are several."""
    known = [value for value in values if value is not None]
    if len(known) > 1:
        return f"{mean(known):.2f} ± {stdev(known):.2f}"
    return f"{known[0]:.2f}" if known else "-"


def write_results(file: Path, results: list[Result]) -> None:
    """Write results.csv: one row per run."""
    names = distinct_names([result.config for result in results])
    with atomic_write(file) as stream:
        writer = csv.DictWriter(stream, RESULT_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for name, result in zip(names, results, strict=True):
            row = vars(result.config) | vars(result) | result.errors.as_dict()
            row |= {"net": name, "data": data_name(result.config), "folder": result.folder.name}
            writer.writerow(row)
