"""Final training error against a setting that a study varies, such as the learning rate."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from resnet_degradation.config.identity import (
    NET_SETTINGS,
    architecture_key,
    differing_settings,
    distinct_names,
    get_setting,
)
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.frame import framed_figure
from resnet_degradation.figures.seeds import Curve, Series, average, draw_curve, finished_runs
from resnet_degradation.figures.style import choose_colours
from resnet_degradation.figures.titles import NetMeasurement, compose_title, uncertainty_note
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.system.errors import UserError

NAMES = {"recipe.lr": "learning rate", "recipe.iterations": "iterations"}


def load_errors_by_setting(folders: list[Path]) -> tuple[str, list[Series]]:
    """Return the setting that varies among the finished runs, and a series of errors for each net.

    Raises UserError if no run is finished, or if not exactly one training setting varies.
    """
    configs = {folder: read_config(folder) for folder in finished_runs(folders)}
    keys = [
        key for key in differing_settings([*configs.values()]) if key not in (*NET_SETTINGS, "seed")
    ]
    if len(keys) != 1:
        raise UserError(
            "the figure 'grid' needs runs that differ in one setting besides the net and the seed, "
            f"but these differ in {', '.join(keys) or 'none'}: draw other runs"
        )
    (key,) = keys
    nets: dict[str, dict[Any, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder, config in configs.items():
        nets[architecture_key(config)][get_setting(config, key)].append(folder)
    ordered = [sorted(net.items(), key=lambda item: _sort_key(item[0])) for net in nets.values()]
    configs_by_net = [[configs[runs[0]] for _, runs in net] for net in ordered]
    names = distinct_names(
        [net_configs[0] for net_configs in configs_by_net], ignored=("seed", key)
    )
    return key, [
        Series(
            name,
            net_configs,
            [np.array([read_final_errors(run).train_error for run in runs]) for _, runs in net],
        )
        for name, net_configs, net in zip(names, configs_by_net, ordered, strict=True)
    ]


def _sort_key(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def grid_curve(net: Series, key: str, values: list[Any]) -> Curve:
    """Return the mean error against the values; if one is not a number, against their indices."""
    net_values = [get_setting(config, key) for config in net.configs]
    numeric = all(isinstance(value, int | float) for value in values)
    x = net_values if numeric else [values.index(value) for value in net_values]
    return average(np.array(x, dtype=float), net.errors)


def grid_title(key: str, nets: list[Series]) -> str:
    """State the lowest mean error of each net over the values of `key`.

    For iterations, state the mean errors with the fewest and with the most iterations.
    """
    if key == "recipe.iterations":
        lengths = [get_setting(config, key) for config in nets[0].configs]
        changes = [
            f"{net.name} {net.errors[0].mean():.1f} → {net.errors[-1].mean():.1f} %" for net in nets
        ]
        uncertainty = (
            uncertainty_note(*(net.errors[-1].tolist() for net in nets)) if len(nets) == 2 else ""
        )
        first, last = (f"{n:,}" if isinstance(n, int) else n for n in (lengths[0], lengths[-1]))
        subject = f"Training error from {first} to {last} iterations"
        return f"{subject}: {', '.join(changes)}{uncertainty}"
    best = []
    for net in nets:
        errors = min(net.errors, key=np.mean)
        best.append(NetMeasurement(net.name, net.configs[0], float(errors.mean()), errors.tolist()))
    subject = f"Training error of each net at its best {NAMES.get(key, key)}"
    return compose_title(subject, best, "{:.1f} %".format)


def plot_grid(key: str, nets: list[Series], drawing: Drawing, dark: bool = False) -> Figure:
    """Plot the mean final training error of each net against the setting `key`.

    Dots are runs, bands one standard deviation over seeds. On a logarithmic axis, errors of zero
    are drawn at its lower end.
    """
    values = sorted({get_setting(c, key) for net in nets for c in net.configs}, key=_sort_key)
    nets_by_value = [net_at_value for net in nets for net_at_value in net.to_nets()]
    heading, band = grid_title(key, nets), "band: one standard deviation"
    with framed_figure(nets_by_value, heading, 2.8, band, drawing=drawing, dark=dark) as (
        figure,
        _,
    ):
        axes = figure.subplots()
        shades = choose_colours([net.configs[0] for net in nets], dark)
        curves = [grid_curve(net, key, values) for net in nets]
        for net, curve, shade in zip(nets, curves, shades, strict=True):
            draw_curve(axes, curve, shade, label=net.name, linewidth=2)
            for x, errors in zip(curve.x, net.errors, strict=True):
                axes.plot([x] * len(errors), errors, "o", color=shade, markersize=3.5)
        ticks = sorted({float(x) for curve in curves for x in curve.x})
        if all(isinstance(value, int | float) for value in values):
            if ticks[0] > 0 and ticks[-1] >= 4 * ticks[0]:
                axes.set_xscale("log")
            texts = [f"{tick:,g}" for tick in ticks]
        else:
            texts = [str(value) for value in values]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(texts)
        axes.set(xlabel=NAMES.get(key, key), ylabel="training error at the end (%)")
        if drawing.log:
            positive = [e for net in nets for errors in net.errors for e in errors if e > 0]
            axes.set_yscale("log")
            axes.set_ylim(0.8 * min(positive, default=1.0), None)
            axes.yaxis.set_major_formatter("{x:g}")
        else:
            axes.set_ylim(0, None)
    return figure
