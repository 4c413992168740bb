"""The errors of nets over a run, averaged over their seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from resnet_degradation.config.schema import Config
from resnet_degradation.figures.seeds import Curve, NetRows, average, load_nets
from resnet_degradation.records.metrics import Row, read_metrics
from resnet_degradation.records.run_folder import read_extension
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import UserError


@dataclass(frozen=True)
class NetCurves:
    """The errors of one net in percent, averaged over its seeds."""

    name: str
    config: Config
    num_seeds: int
    train: Curve
    held_out: Curve
    held_out_name: str  # "validation" or "test"
    ends: Sequence[float] = ()  # the last held-out error of every seed


def load_curves(folders: list[Path], x: str = "iteration", smooth: int = 1) -> list[NetCurves]:
    """The curves of the runs in these folders, averaged over seeds, in the order of the folders.

    x: the column of metrics.csv on the horizontal axis. smooth: how many rows a point of a training
    curve averages (its own and those before it).

    Runs that differ in more than the seed are different nets; if these have the same name, the
    settings that differ are added to it. So is "unfinished", if a run of the net is. Raises
    UserError if no run has recorded a row, or if the seeds of a net have no iteration in common.
    """
    nets = load_nets(folders, _read_rows)
    if not nets:
        raise UserError("there is nothing to draw yet: no run has recorded a row")
    return [_average_seeds(net, x, smooth) for net in nets]


def _read_rows(folder: Path) -> list[Row]:
    """A run's rows. An extended net gets a first row with its errors before training."""
    rows = read_metrics(folder)
    extension = read_extension(folder)
    if extension is None or not rows:
        return rows
    deep = extension["deep"]
    start = replace(
        rows[0],
        iteration=0,
        epoch=0.0,
        seconds=0.0,
        train_error=deep["train_error"],
        val_error=deep["held_out_errors"].get("val"),
        test_error=deep["held_out_errors"].get("test"),
    )
    return [start, *rows]


def _average_seeds(net: NetRows, x: str, smooth: int) -> NetCurves:
    if not set.intersection(*({row.iteration for row in rows} for rows in net.seeds)):
        raise UserError(
            f"the {len(net.seeds)} runs of {net.name} have no recorded iteration in common, "
            "so they cannot be averaged: draw them one by one"
        )
    validated = any(row.val_error is not None for rows in net.seeds for row in rows)
    held_out = attrgetter("val_error" if validated else "test_error")
    return NetCurves(
        name=net.name if all(map(is_finished, net.folders)) else f"{net.name} (unfinished)",
        config=net.config,
        num_seeds=len(net.seeds),
        train=_average_error(net.seeds, attrgetter("train_error"), x, smooth),
        held_out=_average_error(net.seeds, held_out, x, 1),
        held_out_name="validation" if validated else "test",
        ends=[errors[-1] for rows in net.seeds if (errors := _known(rows, held_out))],
    )


def _known(rows: Sequence[Row], error: Callable[[Row], float | None]) -> list[float]:
    return [value for row in rows if (value := error(row)) is not None]


def _average_error(
    seeds: list[Sequence[Row]], error: Callable[[Row], float | None], x: str, smooth: int
) -> Curve:
    """The mean over seeds at the iterations at which all of them measured this error."""
    measured = [{row.iteration: row for row in rows if error(row) is not None} for rows in seeds]
    common = sorted(set.intersection(*(set(rows) for rows in measured)))
    x_values = np.array([[getattr(rows[i], x) for i in common] for rows in measured], dtype=float)
    errors = np.array([[error(rows[i]) for i in common] for rows in measured], dtype=float)
    windows = [slice(max(0, end - smooth), end) for end in range(1, len(common) + 1)]
    return average(x_values.mean(axis=0), [errors[:, window].mean(axis=1) for window in windows])
