"""Final training error against depth: plain nets degrade, residual nets do not."""

from itertools import cycle
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.figure import Figure

from resnet_degradation.config.architectures import Family, default_shortcut, find_architecture
from resnet_degradation.config.identity import (
    describe_values,
    differing_settings,
    distinct_names,
    get_setting,
    settings_key,
)
from resnet_degradation.config.resolve import default_warmup
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import Series, average, draw_curve, finished_runs
from resnet_degradation.figures.style import SHADES, adapt_to_background
from resnet_degradation.figures.titles import uncertainty_note
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.records.summary import read_final_errors

# Line style and marker of the first, second, ... series of the same colour.
STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))

ErrorsByDepth = dict[int, list[tuple[Config, float]]]  # (configuration, error) of each run


def load_errors_by_depth(folders: list[Path]) -> list[Series]:
    """Load the finished runs in these folders as series of errors by depth.

    Runs of a series differ only in depth and seed. Series are named after the settings in which
    they differ. Raises UserError if no run is finished.
    """
    groups: dict[str, ErrorsByDepth] = {}
    for folder in finished_runs(folders):
        config = read_config(folder)
        by_depth = groups.setdefault(settings_key(config, exclude={"seed", "depth"}), {})
        error = read_final_errors(folder).train_error
        by_depth.setdefault(config.depth, []).append((config, error))
    merged = [[runs for _, runs in sorted(g.items())] for g in _merge_groups([*groups.values()])]
    shallowest = [runs_by_depth[0][0][0] for runs_by_depth in merged]
    names = ["residual nets" if config.residual else "plain nets" for config in shallowest]
    # First try to tell equal names apart without the warm-up, which may vary within a series.
    for ignored in (("seed", "depth", "recipe.warmup"), ("seed", "depth")):
        names = distinct_names(shallowest, names, ignored)
    return [
        Series(
            name,
            [runs[0][0] for runs in runs_by_depth],
            [np.array([error for _, error in runs]) for runs in runs_by_depth],
        )
        for name, runs_by_depth in zip(names, merged, strict=True)
    ]


def _merge_groups(groups: list[ErrorsByDepth]) -> list[ErrorsByDepth]:
    """Merge groups that differ only in defaults that depend on the depth.

    For example, nets of 110 layers have a warm-up, but belong to the same series as nets of 56.
    Groups that share a depth are kept apart, because they must differ in something else.
    """
    merged: list[tuple[set[str], ErrorsByDepth]] = []
    for group in groups:
        keys = {_key_without_defaults(runs[0][0]) for runs in group.values()}
        for other_keys, other in merged:
            if keys & other_keys and not group.keys() & other.keys():
                other_keys.update(keys)
                other.update(group)
                break
        else:
            merged.append((keys, {**group}))
    return [group for _, group in merged]


def _key_without_defaults(config: Config) -> str:
    """Return a run's settings as one string, without its depth and the defaults for that depth."""
    family = cast(Family, config.family)
    keys = {"seed", "depth"}
    if config.recipe.warmup == default_warmup(config.depth, family):
        keys |= {f"recipe.{name}" for name in vars(config.recipe) if name.startswith("warmup")}
    if config.shortcut == default_shortcut(config.depth, family):
        keys.add("shortcut")
    return settings_key(config, exclude=keys)


def _other_differences(series: Series) -> list[str]:
    """Describe each setting other than depth that differs among these nets."""
    depths = [str(config.depth) for config in series.configs]
    values = {
        key: [get_setting(config, key) for config in series.configs]
        for key in differing_settings(series.configs)
        if key != "depth"
    }
    blocks = [find_architecture(c.depth, cast(Family, c.family)).block for c in series.configs]
    if len(set(blocks)) > 1:
        values["the block"] = blocks
    return [
        f"{describe_values(key, net_values, depths)} layers" for key, net_values in values.items()
    ]


def depths_title(series: list[Series]) -> str:
    """State the errors of each series' shallowest and deepest net, and any uncertainty."""
    texts: dict[str, list[str]] = {}
    for group in series:
        depths, first, last = [c.depth for c in group.configs], group.errors[0], group.errors[-1]
        if len(depths) > 1:
            span = f"from {depths[0]} to {depths[-1]} layers"
            uncertainty = uncertainty_note(first.tolist(), last.tolist())
            values = f"{first.mean():.1f} → {last.mean():.1f} %{uncertainty}"
            texts.setdefault(span, []).append(f"{group.name} {values}")
    spans = [f"{span}: {', '.join(series_texts)}" for span, series_texts in texts.items()]
    return f"Training error {'; '.join(spans)}" if spans else ""


def _space_out_ticks(ticks: list[int], min_distance: float) -> list[int]:
    """Return the first and the last tick, and those in between whose labels do not overlap."""
    kept = ticks[:1]
    for tick in ticks[1:-1]:
        if min(tick - kept[-1], ticks[-1] - tick) >= min_distance:
            kept.append(tick)
    return [*kept, *ticks[1:][-1:]]


def plot_depths(series: list[Series], drawing: Drawing, dark: bool = False) -> Figure:
    """Plot mean final training error against depth, with a dot for each seed.

    Bands are one standard deviation over seeds.
    """
    nets = [net for group in series for net in group.to_nets()]
    notes = [*dict.fromkeys(text for group in series for text in _other_differences(group))]
    heading, band = depths_title(series), "band: one standard deviation"
    with framed_figure(nets, heading, 2.8, band, notes, drawing=drawing, dark=dark) as (figure, _):
        axes = figure.subplots()
        styles = {False: cycle(STYLES), True: cycle(STYLES)}
        for group in series:
            residual = group.configs[0].residual
            colour = adapt_to_background(SHADES[residual][2], dark)
            line, marker = next(styles[residual])
            style = {"linestyle": line, "marker": marker, "linewidth": 2}
            curve = average(np.array([config.depth for config in group.configs]), group.errors)
            draw_curve(axes, curve, colour, label=group.name, **style)
            for depth, errors in zip(curve.x, group.errors, strict=True):
                if len(errors) > 1:
                    axes.plot([depth] * len(errors), errors, ".", color=colour, markersize=3)
        depths = sorted({net.config.depth for net in nets})
        axes.set_xticks(
            _space_out_ticks(depths, (0.09 if drawing.narrow else 0.04) * (depths[-1] - depths[0]))
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="depth (layers)", ylabel="training error at the end (%)", ylim=(0, None))
    return figure
