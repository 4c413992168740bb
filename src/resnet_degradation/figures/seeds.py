"""Groups runs into nets, and averages curves over seeds."""

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
    """The records of the runs of one net: the rows and the run folder of each seed."""

    name: str
    config: Config
    seeds: list[Sequence[Any]]  # the rows of each seed
    folders: Sequence[Path] = ()  # empty if the rows were not read from run folders


def load_nets(folders: list[Path], read: Callable[[Path], Sequence[Any]]) -> list[NetRows]:
    """Load the nets in these run folders, in the order of the folders.

    read: returns the rows of a run; runs without rows are left out.
    """
    distinct = dict.fromkeys(folder.resolve() for folder in folders)
    runs = ((read_config(folder), folder, read(folder)) for folder in distinct)
    nets = group_by_net((config, (folder, rows)) for config, folder, rows in runs if rows)
    return [
        NetRows(name, config, [rows for _, rows in seeds], [folder for folder, _ in seeds])
        for name, config, seeds in nets
    ]


def finished_runs(folders: list[Path]) -> list[Path]:
    """Return the folders of finished runs, without copies; raises UserError if there are none."""
    finished = drop_duplicate_runs([folder.resolve() for folder in folders if is_finished(folder)])
    if not finished:
        raise UserError("nothing to draw yet: no run is finished")
    return finished


@dataclass(frozen=True)
class Curve:
    """Mean and standard deviation over seeds at each x."""

    x: Values
    mean: Values
    spread: Values  # standard deviation; zero for a single seed


def average(x: Values, values: Sequence[Values]) -> Curve:
    """Average `values`, which has an array with the values of all seeds for each x."""
    mean = np.array([seed_values.mean() for seed_values in values])
    spread = [seed_values.std(ddof=1) if len(seed_values) > 1 else 0.0 for seed_values in values]
    return Curve(x, mean, np.array(spread))


@dataclass(frozen=True)
class Series:
    """Nets that differ in one setting, with the final training error of each seed."""

    name: str
    configs: list[Config]  # one for each value of the setting
    errors: list[Values]  # errors of all seeds in percent, for each value of the setting

    def to_nets(self) -> list[NetRows]:
        """Return a net with its errors for each value of the setting."""
        return [
            NetRows(self.name, config, errors.tolist())
            for config, errors in zip(self.configs, self.errors, strict=True)
        ]


def draw_curve(axes: Axes, curve: Curve, color: str, **line: Any) -> None:
    """Draw the mean as a line, with a band of one standard deviation around it."""
    axes.plot(curve.x, curve.mean, color=color, **line)
    if curve.spread.any():
        low, high = curve.mean - curve.spread, curve.mean + curve.spread
        axes.fill_between(curve.x, low, high, color=color, alpha=0.18, linewidth=0)
