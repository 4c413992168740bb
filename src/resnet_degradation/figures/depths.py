"""Final training error against depth: degradation and its cure in one picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from resnet_degradation.config.architectures import Family, architecture, default_shortcut
from resnet_degradation.config.naming import (
    differing_settings,
    distinct_names,
    key_without,
    setting,
    values_of,
)
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.captions import caption_text, write_caption
from resnet_degradation.figures.curve_data import Values
from resnet_degradation.figures.curves import BOLD
from resnet_degradation.figures.style import COLOURS, on_page, rc
from resnet_degradation.records.run_folder import read_config, without_copies
from resnet_degradation.records.summary import is_finished, read_final_errors
from resnet_degradation.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Plain nets in the paper's red of deep nets, residual nets in the blue of figure 4's shallow ones.
PLAIN, RESIDUAL = COLOURS[56], COLOURS[18]

# Lines and markers of series of one colour, from the first on.
STYLES = ("-o", "--s", ":^", "-.D")


@dataclass(frozen=True)
class Series:
    """Nets that differ in depth, and in what follows from it: their errors over depth, in percent.

    The lists have an entry for each depth.
    """

    name: str
    residual: bool
    configs: list[Config]
    depths: Values
    errors: list[Values]  # of the seeds

    def mean(self) -> Values:
        """The mean over seeds at each depth."""
        return np.array([errors.mean() for errors in self.errors])

    def spread(self) -> Values:
        """The standard deviation over seeds at each depth; zero where there is one."""
        return np.array([e.std(ddof=1) if len(e) > 1 else 0.0 for e in self.errors])


ByDepth = dict[int, list[tuple[Config, float]]]  # the seeds of each depth, with their errors


def load_depths(folders: list[Path]) -> list[Series]:
    """Plain and residual series of the finished runs in these folders, over depth and seeds.

    Runs that differ in more than depth and seed make series of their own, whose names say in
    what. Raises UserError if no run is finished.
    """
    found: dict[str, ByDepth] = {}
    for folder in without_copies([f.resolve() for f in folders if is_finished(f)]):
        config = read_config(folder)
        by_depth = found.setdefault(key_without(config, {"seed", "depth"}), {})
        error = read_final_errors(folder).train_error
        by_depth.setdefault(config.depth, []).append((config, error))
    if not found:
        raise UserError("there is nothing to draw yet: no run is finished")
    groups = [dict(sorted(group.items())) for group in _joined([*found.values()])]
    configs = [[runs[0][0] for runs in group.values()] for group in groups]
    shallowest = [of_group[0] for of_group in configs]
    names = ["residual nets" if config.residual else "plain nets" for config in shallowest]
    # First without the warm-up, which nets on one line may or may not have.
    for alike in (("seed", "depth", "recipe.warmup"), ("seed", "depth")):
        names = distinct_names(shallowest, names, alike)
    return [
        Series(
            name,
            of_group[0].residual,
            of_group,
            np.array([*group], dtype=float),
            [np.array([error for _, error in runs]) for runs in group.values()],
        )
        for name, group, of_group in zip(names, groups, configs, strict=True)
    ]


def _joined(groups: list[ByDepth]) -> list[ByDepth]:
    """The groups, those joined that differ in what each net has because of its depth.

    Nets of 110 layers have a warm-up, for example, and still go on the line of those of 56.
    Groups that have a depth in common differ for another reason.
    """
    joined: list[ByDepth] = []
    for group in groups:
        for other in joined:
            if _open_keys(group) & _open_keys(other) and not group.keys() & other.keys():
                other.update(group)
                break
        else:
            joined.append({**group})
    return joined


def _open_keys(group: ByDepth) -> set[str]:
    """What identifies each net apart from its depth and what it has by default at that depth."""
    return {_open_key(runs[0][0]) for runs in group.values()}


def _open_key(config: Config) -> str:
    family = cast(Family, config.family)
    keys = {"seed", "depth"}
    if config.recipe.warmup == default_warmup(config.depth, family):
        keys |= {f"recipe.{name}" for name in vars(config.recipe) if name.startswith("warmup")}
    if config.shortcut == default_shortcut(config.depth, family):
        keys.add("shortcut")
    return key_without(config, keys)


def _other_differences(series: Series) -> list[str]:
    """In what the nets on one line differ besides depth."""
    depths = [str(config.depth) for config in series.configs]
    values = {
        key: [setting(config, key) for config in series.configs]
        for key in differing_settings(series.configs)
        if key != "depth"
    }
    blocks = [architecture(c.depth, cast(Family, c.family)).block for c in series.configs]
    if len(set(blocks)) > 1:
        values["the block"] = blocks
    return [f"{values_of(key, of_nets, depths)} layers" for key, of_nets in values.items()]


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
            axes.plot(one.depths, mean, style, color=colour, linewidth=BOLD, label=one.name)
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
        differences = dict.fromkeys(text for one in series for text in _other_differences(one))
        write_caption(figure, "; ".join([caption_text(configs, seeds), *differences]), dark)
        if title:
            figure.suptitle(title)
        figure.subplots_adjust(left=0.11, right=0.97, top=0.9, bottom=0.22)
    return figure
