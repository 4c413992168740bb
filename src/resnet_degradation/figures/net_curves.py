"""The errors of nets during training, averaged over seeds."""

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
    final_errors: Sequence[float] = ()  # the last held-out error of each seed


def load_curves(folders: list[Path], x: str = "iteration", smooth: int = 1) -> list[NetCurves]:
    """Load the curves of the runs in these folders, averaged over seeds, in order of the folders.

    x: the column of metrics.csv on the x axis. smooth: how many rows each point of a training curve
    averages (its own row and those before it).

    Runs that differ in more than the seed are different nets. Equal names are extended by the
    settings in which the nets differ, and by "unfinished" if a run is unfinished. Raises UserError
    if no run has recorded a row, or if the seeds of a net have no iteration in common.
    """
    nets = load_nets(folders, _read_rows)
    if not nets:
        raise UserError("nothing to draw yet: no run has recorded a row")
    return [_average_seeds(net, x, smooth) for net in nets]


def _read_rows(folder: Path) -> list[Row]:
    """Read a run's rows; for an extended net, prepend its errors before training."""
    rows = read_metrics(folder)
    extension = read_extension(folder)
    if extension is None or not rows:
        return rows
    extended_net = extension["deep"]
    start = replace(
        rows[0],
        iteration=0,
        epoch=0.0,
        seconds=0.0,
        train_error=extended_net["train_error"],
        val_error=extended_net["held_out_errors"].get("val"),
        test_error=extended_net["held_out_errors"].get("test"),
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
        final_errors=[
            errors[-1] for rows in net.seeds if (errors := _measured_errors(rows, held_out))
        ],
    )


def _measured_errors(rows: Sequence[Row], error: Callable[[Row], float | None]) -> list[float]:
    return [value for row in rows if (value := error(row)) is not None]


def _average_error(
    seeds: list[Sequence[Row]], error: Callable[[Row], float | None], x: str, smooth: int
) -> Curve:
    """Average an error over seeds, at the iterations where all seeds measured it."""
    measured = [{row.iteration: row for row in rows if error(row) is not None} for rows in seeds]
    common = sorted(set.intersection(*(set(rows) for rows in measured)))
    x_values = np.array([[getattr(rows[i], x) for i in common] for rows in measured], dtype=float)
    errors = np.array([[error(rows[i]) for i in common] for rows in measured], dtype=float)
    windows = [slice(max(0, end - smooth), end) for end in range(1, len(common) + 1)]
    return average(x_values.mean(axis=0), [errors[:, window].mean(axis=1) for window in windows])
