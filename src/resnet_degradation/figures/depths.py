"""Final training error against depth: degradation and its cure in one picture."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnet_degradation.config import Config, digest
from resnet_degradation.errors import UserError
from resnet_degradation.figures.curves import BOLD, Values, distinct_names, told, write_caption
from resnet_degradation.figures.style import COLOURS, on_page, rc
from resnet_degradation.runs import is_finished, read_config, read_final_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Plain nets in the paper's red of deep nets, residual nets in the blue of figure 4's shallow ones.
PLAIN, RESIDUAL = COLOURS[56], COLOURS[18]
# Lines for other lengths of training, or whatever else tells series apart, from the first on.
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Series:
    """Nets that differ in nothing but depth: their errors over depth, in percent."""

    name: str
    residual: bool
    configs: list[Config]  # one for each depth
    depths: Values
    errors: list[Values]  # for each depth, of its seeds

    def mean(self) -> Values:
        """The mean over seeds at each depth."""
        return np.array([errors.mean() for errors in self.errors])

    def spread(self) -> Values:
        """The standard deviation over seeds at each depth; zero where there is one."""
        return np.array([e.std(ddof=1) if len(e) > 1 else 0.0 for e in self.errors])


def load_depths(folders: list[Path]) -> list[Series]:
    """Plain and residual series of the finished runs in these folders, over depth and seeds.

    Runs that differ in more than depth and seed make series of their own, whose names tell in
    what. Raises UserError if no run is finished.
    """
    found: dict[tuple[bool, str], dict[int, list[tuple[Config, float]]]] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if is_finished(folder):
            config = read_config(folder)
            key = (config.residual, digest(replace(config, depth=_any_depth(config), seed=0)))
            of_depth = found.setdefault(key, {}).setdefault(config.depth, [])
            of_depth.append((config, read_final_errors(folder).train_error))
    if not found:
        raise UserError("there is nothing to draw yet: no run is finished")
    names = distinct_names(
        [next(iter(by_depth.values()))[0][0] for by_depth in found.values()],
        ["residual nets" if residual else "plain nets" for residual, _ in found],
        alike=("seed", "depth", "recipe.warmup"),
    )
    series = []
    for name, ((residual, _), by_depth) in zip(names, found.items(), strict=True):
        depths = sorted(by_depth)
        configs = [by_depth[depth][0][0] for depth in depths]
        errors = [np.array([error for _, error in by_depth[depth]]) for depth in depths]
        series.append(Series(name, residual, configs, np.array(depths, dtype=float), errors))
    return series


def _any_depth(config: Config) -> int:
    """One depth for all of a family, so that a digest tells nets apart by the rest."""
    return {"cifar": 20, "imagenet": 34}[str(config.family)]


def plot_depths(series: list[Series], title: str = "", dark: bool = False) -> "Figure":
    """Mean final training error over depth, a dot for every seed, a band of one deviation."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(rc(dark)):
        figure = Figure(figsize=(5.6, 3.9))
        axes = figure.subplots()
        counts = {True: 0, False: 0}
        for one in series:
            colour = on_page(RESIDUAL if one.residual else PLAIN, dark)
            style = STYLES[counts[one.residual] % len(STYLES)]
            counts[one.residual] += 1
            mean, spread = one.mean(), one.spread()
            axes.plot(
                one.depths, mean, style, color=colour, linewidth=BOLD, marker="o", label=one.name
            )
            if spread.any():
                low, high = mean - spread, mean + spread
                axes.fill_between(one.depths, low, high, color=colour, alpha=0.18, linewidth=0)
            for depth, errors in zip(one.depths, one.errors, strict=True):
                if len(errors) > 1:
                    axes.plot([depth] * len(errors), errors, ".", color=colour, markersize=3)
        axes.set_xticks(sorted({float(d) for one in series for d in one.depths}))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("depth (layers)")
        axes.set_ylabel("final training error (%)")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
        configs = [config for one in series for config in one.configs]
        seeds = [len(errors) for one in series for errors in one.errors]
        write_caption(figure, told(configs, seeds), dark)
        if title:
            figure.suptitle(title)
        figure.subplots_adjust(left=0.11, right=0.97, top=0.9, bottom=0.22)
    return figure
