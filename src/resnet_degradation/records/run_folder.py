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
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from resnet_degradation import __version__
from resnet_degradation.config.identity import digest, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.records.metrics import read_whole_rows
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import UserError

_CHECKPOINT = re.compile(r"iteration-(\d{1,12})\b.*\.pt$")


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


def write_classes(folder: Path, classes: list[str]) -> None:
    """Write the names of the classes that a run tells apart, in the order of its scores."""
    with atomic_write(folder / "classes.json") as stream:
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
