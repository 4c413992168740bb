"""Reads the results of finished runs, and groups them by net."""

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
SUMMARY_FIELDS = (
    *("num_parameters", "multiply_adds", "iterations", "seconds", "num_classes"),
    "still_warming_up",
)


@dataclass(frozen=True)
class Result:
    """The result of one finished run."""

    config: Config
    folder: Path
    errors: FinalErrors  # in percent
    num_parameters: int
    multiply_adds: int  # of a forward pass, per image
    iterations: int
    seconds: float
    num_classes: int
    still_warming_up: bool  # whether the run ended at the learning rate of the warm-up
    mean_response: float | None  # mean of figure 7 over the 3x3 layers; None if not recorded
    environment: dict[str, Any]  # versions, hardware, git revision
    num_skipped_images: int = 0  # number of unreadable images


class NetResults(NamedTuple):
    """The results of one net of a study."""

    name: str  # unique in the study
    config: Config  # of the first seed
    results: list[Result]  # one per seed


def read_result(config: Config, folder: Path | None = None) -> Result:
    """Read the result of the run with this configuration; raise UserError if it is not finished.

    folder: the run folder, if it is not the one that the configuration names.
    """
    folder = folder or run_folder(config)
    summary = read_summary(folder)
    responses = read_responses(folder) if (folder / "responses.csv").is_file() else []
    return Result(
        config=config,
        folder=folder,
        errors=parse_final_errors(summary),
        **{name: summary[name] for name in SUMMARY_FIELDS},
        mean_response=mean(layer.std for layer in responses) if responses else None,
        environment={key: summary[key] for key in ("versions", "hardware", "git_revision")},
        num_skipped_images=count_skipped_images(folder),
    )


def group_results_by_net(results: list[Result]) -> list[NetResults]:
    """Group the results by net."""
    return [NetResults(*net) for net in group_by_net((result.config, result) for result in results)]


def format_mean_and_spread(values: Iterable[float | None]) -> str:
    """Format the mean and, for several values, the standard deviation; None is ignored."""
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
