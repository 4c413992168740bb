"""Training and held-out error against iterations, in the manner of figures 1, 4 and 6.

Everything is drawn from the files of run folders; no trainer is needed, nor any checkpoint.
"""

from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resnet_degradation.config import Config, data_name, digest, identity_keys, net_name
from resnet_degradation.errors import UserError
from resnet_degradation.figures.style import RC, colour
from resnet_degradation.runs import Row, read_config, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Line widths: training error is thin and held-out error bold, as in figure 4.
THIN, BOLD = 0.8, 2.2

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """An error in percent against iterations: its mean over seeds, and their standard deviation.

    `spread` is zero where there is one seed.
    """

    iterations: Values
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

    def end(self) -> float:
        """Where the bold curve ends, or the thin one where nothing was held out yet."""
        curve = self.held_out if len(self.held_out.mean) else self.train
        return float(curve.mean[-1])


def load_curves(folders: list[Path]) -> list[NetCurves]:
    """The curves of the runs in these folders, averaged over seeds, in the order of the folders.

    Runs that differ in more than the seed are kept apart; where nets of one name do, the names
    tell in what. Raises UserError if a folder holds no run.
    """
    groups: dict[str, list[tuple[Config, list[Row]]]] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        config, rows = read_config(folder), read_metrics(folder)
        if rows:
            groups.setdefault(digest(replace(config, seed=0)), []).append((config, rows))
    if not groups:
        raise UserError("there is nothing to draw yet: no run has recorded a row")
    names = distinct_names([runs[0][0] for runs in groups.values()])
    return [_over_seeds(name, runs) for name, runs in zip(names, groups.values(), strict=True)]


def distinct_names(configs: list[Config]) -> list[str]:
    """Each configuration's net, with the settings that tell it from others of the same name."""
    names = [net_name(config) for config in configs]
    distinct = []
    for name, config in zip(names, configs, strict=True):
        rivals = [other for rival, other in zip(names, configs, strict=True) if rival == name]
        keys = sorted({key for other in rivals for key in identity_keys(other)} - {"seed"})
        told = [
            f"{key.rpartition('.')[2]} {attrgetter(key)(config)}"
            for key in keys
            if len({str(attrgetter(key)(other)) for other in rivals}) > 1
        ]
        distinct.append(f"{name} ({', '.join(told)})" if told else name)
    return distinct


def _over_seeds(name: str, runs: list[tuple[Config, list[Row]]]) -> NetCurves:
    config = runs[0][0]
    records = [rows for _, rows in runs]
    if not set.intersection(*({row.iteration for row in rows} for rows in records)):
        raise UserError(
            f"the {len(runs)} runs of {name} have no recorded iteration in common to average at: "
            "draw them one by one"
        )
    validated = any(row.val_error is not None for row in records[0])
    return NetCurves(
        name=name,
        config=config,
        num_seeds=len(runs),
        train=_curve([[(row.iteration, row.train_error) for row in rows] for rows in records]),
        held_out=_curve(
            [
                [
                    (row.iteration, error)
                    for row in rows
                    if (error := row.val_error if validated else row.test_error) is not None
                ]
                for rows in records
            ]
        ),
        held_out_name="validation" if validated else "test",
    )


def _curve(runs: list[list[tuple[int, float]]]) -> Curve:
    """The mean over runs at the iterations that all of them have recorded."""
    recorded = [dict(points) for points in runs]
    common = sorted(set.intersection(*(set(errors) for errors in recorded)))
    values = np.array([[errors[iteration] for iteration in common] for errors in recorded])
    if not common:
        return Curve(np.array([]), np.array([]), np.array([]))
    spread = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(common))
    return Curve(np.array(common, dtype=float), values.mean(axis=0), spread)


def plot_curves(nets: list[NetCurves], title: str = "") -> "Figure":
    """Plain nets on the left, residual nets on the right; thin training, bold held-out error.

    A band is one standard deviation over seeds. The caption names data, schedule and seeds.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    kinds = [
        (label, members)
        for label, residual in (("plain nets", False), ("residual nets", True))
        if (members := [net for net in nets if net.config.residual == residual])
    ]
    with mpl.rc_context(RC):
        figure, panels = plt.subplots(
            1, len(kinds), figsize=(4.2 * len(kinds), 3.6), sharey=True, squeeze=False
        )
        panels[0][0].set_ylabel("error (%)")
        highest = max(float(net.train.mean.max()) for net in nets)
        panels[0][0].set_ylim(0, min(100.0, 1.05 * highest))
        for axes, (label, members) in zip(panels[0], kinds, strict=True):
            for net in members:
                _draw(axes, net)
            _name_at_the_end(axes, members)
            axes.set_title(label)
            axes.set_xlabel("iteration")
            axes.set_xlim(0, max(net.train.iterations[-1] for net in nets))
        held_out = " / ".join(sorted({net.held_out_name for net in nets}))
        figure.legend(
            handles=[
                Line2D([], [], color="#555555", linewidth=THIN, label="training error"),
                Line2D([], [], color="#555555", linewidth=BOLD, label=f"{held_out} error"),
            ],
            loc="lower center",
            ncols=2,
            bbox_to_anchor=(0.5, 0.045),
        )
        figure.text(0.5, 0.015, caption(nets), ha="center", fontsize=7.5, color="#555555")
        if title:
            figure.suptitle(title)
        figure.tight_layout(rect=(0, 0.11, 1, 1))
    return figure


def _draw(axes: "Axes", net: NetCurves) -> None:
    shade = colour(net.config.depth)
    for curve, width in ((net.train, THIN), (net.held_out, BOLD)):
        axes.plot(curve.iterations, curve.mean, color=shade, linewidth=width)
        if net.num_seeds > 1:
            low, high = curve.mean - curve.spread, curve.mean + curve.spread
            axes.fill_between(curve.iterations, low, high, color=shade, alpha=0.15, linewidth=0)


def _name_at_the_end(axes: "Axes", members: list[NetCurves]) -> None:
    """Write each net's name where its bold curve ends, as the paper does, but not over another."""
    low, high = axes.get_ylim()
    gap = 0.065 * (high - low)
    lowest_free = low + 0.02 * (high - low)
    for net in sorted(members, key=NetCurves.end):
        height = max(net.end(), lowest_free)
        axes.annotate(
            net.name,
            (1.01, height),
            xycoords=("axes fraction", "data"),
            color=colour(net.config.depth),
            va="center",
            annotation_clip=False,
        )
        lowest_free = height + gap


def caption(nets: list[NetCurves]) -> str:
    """The data, the schedule and the number of seeds behind the curves."""

    def all_of(values: set[str]) -> str:
        return " / ".join(sorted(values))

    configs = [net.config for net in nets]
    data = all_of({f"{data_name(c)} {c.data.image_size}x{c.data.image_size}" for c in configs})
    length = all_of({_length(c) for c in configs})
    rate = all_of({f"rate {c.recipe.lr:g}" for c in configs})
    num_seeds = {net.num_seeds for net in nets}
    seeds = all_of({str(number) for number in num_seeds})
    seeds += " seed" if num_seeds == {1} else " seeds (band: one standard deviation)"
    batch = all_of({str(c.recipe.batch_size) for c in configs})
    return f"{data}; {length} of {batch} images; {rate}; {seeds}"


def _length(config: Config) -> str:
    length = config.recipe.iterations
    return f"{length:,} iterations" if isinstance(length, int) else f"{length}, in batches"


def save_figure(figure: "Figure", stem: Path) -> list[Path]:
    """Write the figure as PNG and SVG beside each other; `stem` is their path without ending."""
    import matplotlib as mpl

    stem.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed identifiers, the same record gives the same file.
    formats: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}}
    files = [(stem.with_name(f"{stem.name}.{name}"), data) for name, data in formats.items()]
    with mpl.rc_context(RC):
        for file, metadata in files:
            figure.savefig(file, metadata=metadata)
    return [file for file, _ in files]
