"""Runs grouped into nets, and curves averaged over the seeds of a net."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from resnet_degradation.config.identity import group_by_net
from resnet_degradation.config.schema import Config
from resnet_degradation.records.run_folder import drop_duplicate_runs, read_config
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import UserError

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NetRows:
    """The records of the runs of one net: a list of rows for each seed, and their run folders."""

    name: str
    config: Config
    seeds: list[Sequence[Any]]
    folders: Sequence[Path] = ()  # if the rows were read from run folders


def load_nets(folders: list[Path], read: Callable[[Path], Sequence[Any]]) -> list[NetRows]:
    """The nets of these run folders, in the order of the folders.

    read: returns the rows of a run folder; runs without rows are left out.
    """
    distinct = dict.fromkeys(folder.resolve() for folder in folders)
    runs = ((read_config(folder), folder, read(folder)) for folder in distinct)
    nets = group_by_net((config, (folder, rows)) for config, folder, rows in runs if rows)
    return [
        NetRows(name, config, [rows for _, rows in seeds], [folder for folder, _ in seeds])
        for name, config, seeds in nets
    ]


def finished_runs(folders: list[Path]) -> list[Path]:
    """The finished runs in these folders, without copies; raises UserError if there are none."""
    finished = drop_duplicate_runs([folder.resolve() for folder in folders if is_finished(folder)])
    if not finished:
        raise UserError("there is nothing to draw yet: no run is finished")
    return finished


@dataclass(frozen=True)
class Curve:
    """The mean and the standard deviation over seeds at each `x`."""

    x: Values
    mean: Values
    spread: Values  # zero if there is one seed


def average(x: Values, values: Sequence[Values]) -> Curve:
    """The curve through the means of `values`, which holds the values of all seeds at each x."""
    mean = np.array([seed_values.mean() for seed_values in values])
    spread = [seed_values.std(ddof=1) if len(seed_values) > 1 else 0.0 for seed_values in values]
    return Curve(x, mean, np.array(spread))


@dataclass(frozen=True)
class Series:
    """Nets that differ in one setting, with the final training errors of their seeds."""

    name: str
    configs: list[Config]  # one for each value of the setting
    errors: list[Values]  # for each value, in percent

    def points(self) -> list[NetRows]:
        """The errors at each value of the setting."""
        return [
            NetRows(self.name, config, errors.tolist())
            for config, errors in zip(self.configs, self.errors, strict=True)
        ]


def draw_curve(axes: Axes, curve: Curve, color: str, **line: Any) -> None:
    """Draw the mean as a line, and around it a band of one standard deviation."""
    axes.plot(curve.x, curve.mean, color=color, **line)
    if curve.spread.any():
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.x, low, high, color=color, alpha=0.18, linewidth=0)
