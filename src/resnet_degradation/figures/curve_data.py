"""Training and held-out errors of run folders, averaged over seeds, for the figure of curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from resnet_degradation.config.naming import group_by_net
from resnet_degradation.config.schema import Config
from resnet_degradation.records.metrics import Row, read_metrics
from resnet_degradation.records.run_folder import read_config, read_extension
from resnet_degradation.system.errors import UserError

Record = TypeVar("Record")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """An error in percent: its mean over seeds, and their standard deviation, at each `x`.

    `spread` is zero where there is one seed.
    """

    x: Values
    mean: Values
    spread: Values


@dataclass(frozen=True)
class NetCurves:
    """The curves of one net over all of its seeds."""

    name: str
    config: Config
    num_seeds: int
    train: Curve
    held_out: Curve
    held_out_name: str  # "validation" or "test"


def load_curves(folders: list[Path], x: str = "iteration", smooth: int = 1) -> list[NetCurves]:
    """The curves of the runs in these folders, averaged over seeds, in the order of the folders.

    x: the column of the record on the horizontal axis. smooth: how many rows a point of a training
    curve averages (itself and those before it).

    Runs that differ in more than the seed are kept apart; where nets of one name do, the names
    tell in what. Raises UserError if a folder holds no run.
    """
    nets = by_net(folders, _record)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded a row")
    return [_over_seeds(name, config, records, x, smooth) for name, config, records in nets]


def _record(folder: Path) -> list[Row]:
    """A run's rows; of one that began with another net's solution, what it was then like first."""
    rows = read_metrics(folder)
    facts = read_extension(folder)
    if facts is None or not rows:
        return rows
    held_out = facts["deep"]["held_out_errors"]
    beginning = replace(
        rows[0],
        iteration=0,
        epoch=0.0,
        seconds=0.0,
        train_error=facts["deep"]["train_error"],
        val_error=held_out.get("val"),
        test_error=held_out.get("test"),
    )
    return [beginning, *rows]


def by_net(
    folders: list[Path], read: Callable[[Path], Sequence[Record]]
) -> list[tuple[str, Config, list[Sequence[Record]]]]:
    """Name, configuration and records of each net in these folders, one record for every seed.

    read: gives the record of a run folder; a run whose record is empty is left out.
    """
    distinct = dict.fromkeys(folder.resolve() for folder in folders)
    runs = ((read_config(folder), read(folder)) for folder in distinct)
    return group_by_net((config, record) for config, record in runs if record)


def _over_seeds(
    name: str, config: Config, records: list[Sequence[Row]], x: str, smooth: int
) -> NetCurves:
    if not set.intersection(*({row.iteration for row in rows} for rows in records)):
        raise UserError(
            f"the {len(records)} runs of {name} have no recorded iteration in common to average "
            "at: draw them one by one"
        )
    validated = any(row.val_error is not None for rows in records for row in rows)
    held_out = attrgetter("val_error" if validated else "test_error")
    return NetCurves(
        name=name,
        config=config,
        num_seeds=len(records),
        train=_curve(records, attrgetter("train_error"), x, smooth),
        held_out=_curve(records, held_out, x, 1),
        held_out_name="validation" if validated else "test",
    )


def _curve(
    records: list[Sequence[Row]], error: Callable[[Row], float | None], x: str, smooth: int
) -> Curve:
    """The mean over runs at the iterations at which all of them have measured this error."""
    measured = [
        {
            row.iteration: (getattr(row, x), value)
            for row in rows
            if (value := error(row)) is not None
        }
        for rows in records
    ]
    common = sorted(set.intersection(*(set(points) for points in measured)))
    if not common:
        return Curve(np.array([]), np.array([]), np.array([]))
    points = np.array([[of_run[iteration] for iteration in common] for of_run in measured])
    errors = np.stack([_trailing_mean(of_run, smooth) for of_run in points[:, :, 1]])
    spread = errors.std(axis=0, ddof=1) if len(records) > 1 else np.zeros(len(common))
    return Curve(points[:, :, 0].mean(axis=0), errors.mean(axis=0), spread)


def _trailing_mean(values: Values, window: int) -> Values:
    """The mean of each value and the up to `window` - 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - window)
    means: Values = (sums[ends] - sums[begins]) / (ends - begins)
    return means
