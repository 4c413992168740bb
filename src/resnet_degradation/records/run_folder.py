"""Finds run folders, and reads their smaller files: config.yaml, classes.json and others."""

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
from resnet_degradation.records.metrics import read_whole_rows
from resnet_degradation.system.atomic_files import write_json
from resnet_degradation.system.errors import UserError

Parsed = TypeVar("Parsed")
_CHECKPOINT = re.compile(r"iteration-(\d{1,12})\b.*\.pt$")


def find_runs(folder: Path) -> list[Path]:
    """The run folders at or below `folder`, sorted; in a study's folder, those in study.json.

    Links to folders are followed. Raises UserError if there is no run.
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


def without_copies(folders: list[Path]) -> list[Path]:
    """These run folders without copies: of several copies of a run, the longest one is kept.

    A copy of a run folder, such as a backup, is not another seed. Warns of each copy left out.
    """
    copies: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(folders):
        copies.setdefault(digest(read_config(folder)), []).append(folder)
    longest = [
        max(same, key=_last_recorded) if len(same) > 1 else same[0] for same in copies.values()
    ]
    for kept, same in zip(longest, copies.values(), strict=True):
        for left_out in same:
            if left_out.resolve() != kept.resolve():
                warnings.warn(
                    f"{left_out} is left out: {kept} holds the same run, "
                    f"{run_name(read_config(kept))} with the same settings",
                    stacklevel=2,
                )
    return [folder for folder in dict.fromkeys(folders) if folder in longest]


def _last_recorded(folder: Path) -> int:
    return max((row.iteration for row in read_whole_rows(folder)), default=0)


def read_config(folder: Path) -> Config:
    """The resolved configuration of a run; raises UserError if it is missing or damaged."""
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
            f"{file} is not the configuration of a run: {str(error).splitlines()[0]}"
        ) from error
    assert isinstance(config, Config)
    return config


def write_classes(folder: Path, classes: list[str]) -> None:
    """Write the names of a run's classes, in the order of its logits."""
    write_json(folder / "classes.json", classes)


def read_classes(folder: Path) -> list[str] | None:
    """The classes of a run in the order of its logits, or None if they were not recorded."""
    return _read_json(folder / "classes.json", list)


def read_extension(folder: Path) -> dict[str, Any] | None:
    """How a run started from a shallower net; None if it did not."""
    return _read_json(folder / "extension.json", dict)


def _read_json(file: Path, parse: Callable[[Any], Parsed]) -> Parsed | None:
    try:
        return parse(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}") from error


def num_skipped_images(folder: Path) -> int:
    """How many images a run left out because they could not be read."""
    file = folder / "skipped.csv"
    if not file.is_file():
        return 0
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a run folder, newest first.

    Raises OSError if the folder exists but cannot be listed. Returning [] would restart the run.
    """
    try:
        files = list((folder / "checkpoints").iterdir())
    except FileNotFoundError:
        return []
    found = [file for file in files if _CHECKPOINT.match(file.name)]
    return sorted(found, key=checkpoint_iteration, reverse=True)


def checkpoint_iteration(file: Path) -> int:
    """The iteration in a checkpoint's name."""
    match = _CHECKPOINT.match(file.name)
    assert match is not None
    return int(match[1])


def last_checkpoint(folder: Path) -> int:
    """The iteration of the newest checkpoint in a run folder, 0 if there is none."""
    return next(map(checkpoint_iteration, checkpoint_files(folder)), 0)
