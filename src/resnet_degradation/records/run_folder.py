"""Finds run folders and reads their small files, such as config.yaml and classes.json."""

import csv
import json
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from resnet_degradation import __version__
from resnet_degradation.config.identity import digest, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.records.metrics import read_valid_rows
from resnet_degradation.system.atomic_files import write_json
from resnet_degradation.system.errors import UserError

Parsed = TypeVar("Parsed")
_CHECKPOINT = re.compile(r"iteration-(\d{1,12})\b.*\.pt$")


def find_runs(folder: Path) -> list[Path]:
    """Find the run folders at or below `folder`, in order; symbolic links are followed.

    For a study's folder, returns the runs listed in study.json. Raises UserError if there is none.
    """
    if (index := folder / "study.json").is_file():
        try:
            return [folder / str(run) for run in json.loads(index.read_bytes())["runs"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{index} is not a valid study.json: {error}") from error
    found, seen = [], set()
    for path, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:
            folders.clear()  # a link led back here
        elif "metrics.csv" in files:
            found.append(Path(path))
        seen.add(real)
    if not found:
        raise UserError(
            f"no run in {folder}: looked for metrics.csv in it and below it; name a folder that "
            "resnet-train or resnet-study wrote, such as outputs"
        )
    return sorted(found)


def drop_duplicate_runs(folders: list[Path]) -> list[Path]:
    """Keep one folder of each run: the one that was trained for longest.

    A copy, such as a backup, must not count as another seed. Warns about each dropped copy.
    """
    copies: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(folders):
        copies.setdefault(digest(read_config(folder)), []).append(folder)
    kept_folders = [
        max(same_run, key=_last_recorded_iteration) if len(same_run) > 1 else same_run[0]
        for same_run in copies.values()
    ]
    for kept, same_run in zip(kept_folders, copies.values(), strict=True):
        for dropped in same_run:
            if dropped.resolve() != kept.resolve():
                warnings.warn(
                    f"{dropped} is left out: {kept} holds the same run, "
                    f"{run_name(read_config(kept))} with the same settings",
                    stacklevel=2,
                )
    return [folder for folder in dict.fromkeys(folders) if folder in kept_folders]


def _last_recorded_iteration(folder: Path) -> int:
    return max((row.iteration for row in read_valid_rows(folder)), default=0)


def read_config(folder: Path) -> Config:
    """Read the resolved configuration of a run; raise UserError if it is missing or damaged."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no config.yaml")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(file))
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise UserError(
            f"{file} has the setting {error.full_key}, which version {__version__} of "
            "resnet-degradation does not know: use the version that made the run"
        ) from error
    except (OSError, OmegaConfBaseException, YAMLError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} is not a valid configuration of a run: {str(error).splitlines()[0]}"
        ) from error
    assert isinstance(config, Config)
    return config


def write_classes(folder: Path, classes: list[str]) -> None:
    """Write the names of a run's classes, in the order of the logits."""
    write_json(folder / "classes.json", classes)


def read_classes(folder: Path) -> list[str] | None:
    """Read a run's classes, in the order of the logits; None if they were not recorded."""
    return _read_json(folder / "classes.json", list)


def read_extension(folder: Path) -> dict[str, Any] | None:
    """Read how a run started from a shallower net; None if it did not."""
    return _read_json(folder / "extension.json", dict)


def _read_json(file: Path, parse: Callable[[Any], Parsed]) -> Parsed | None:
    try:
        return parse(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}") from error


def count_skipped_images(folder: Path) -> int:
    """Count the images that a run skipped because they could not be read."""
    file = folder / "skipped.csv"
    if not file.is_file():
        return 0
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoint files of a run, newest first.

    Raises OSError if their folder exists but cannot be listed: an empty list would make the run
    start over.
    """
    try:
        files = list((folder / "checkpoints").iterdir())
    except FileNotFoundError:
        return []
    found = [file for file in files if _CHECKPOINT.match(file.name)]
    return sorted(found, key=checkpoint_iteration, reverse=True)


def checkpoint_iteration(file: Path) -> int:
    """The iteration in the name of a checkpoint file."""
    match = _CHECKPOINT.match(file.name)
    assert match is not None
    return int(match[1])


def last_checkpoint_iteration(folder: Path) -> int:
    """The iteration of a run's newest checkpoint; 0 if there is none."""
    return next(map(checkpoint_iteration, checkpoint_files(folder)), 0)
