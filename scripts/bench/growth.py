"""How the time of a step and its memory grow with a net: `make bench ARGS=--growth`.

One setting of a ResNet-20 changes at a time. Each net trains in a process of its own.
"""

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure
from memory import peak_memory
from results import conditions, write_results
from steps import CIFAR

from resnet_degradation.figures.labels import label_lines, write_title
from resnet_degradation.figures.style import SHADES, muted_colour, rc, save_figure


class Setting(NamedTuple):
    """What changes: the key and what it is called, the usual value, and all values."""

    key: str
    name: str
    usual: float
    values: tuple[float, ...]


SETTINGS = (
    Setting("depth", "depth (layers)", 20, (20, 32, 44, 56, 110, 200, 650, 1202)),
    Setting("width", "width (factor on the channels)", 1, (0.25, 0.5, 1, 2)),
    Setting("recipe.batch_size", "batch size (images)", 128, (32, 64, 128, 256, 512)),
    Setting("data.image_size", "image size (pixels a side)", 32, (16, 32, 64)),
)
SHORT = (
    Setting("depth", "depth (layers)", 8, (8, 14)),
    Setting("recipe.batch_size", "batch size (images)", 32, (16, 32)),
)
DEEP = 1000  # one step of such a net says enough

# What is drawn, relative to the usual net; last the line that multiply-adds predict.
LINES = {
    "time": (SHADES[True][1], "-", "o"),
    "memory": (SHADES[True][2], "-", "s"),
    "multiply-adds": (muted_colour(dark=False), "--", ""),
}
CROWDED = 1.4  # values with a smaller ratio have no room for two numbers on an axis


def amounts(row: dict[str, Any]) -> dict[str, float]:
    """Seconds and multiply-adds (forward) of a step, and GB of memory for it."""
    return {
        "time": row["step_seconds"],
        "memory": row["peak_gb"] - row["before_the_first_step_gb"],
        "multiply-adds": row["multiply_adds"] * row["batch_size"],
    }


def growth_rows(settings: tuple[Setting, ...]) -> list[dict[str, Any]]:
    """What each net takes; the usual net is measured once."""
    usual = {setting.key: setting.usual for setting in settings}
    measured: dict[tuple[float, ...], dict[str, Any]] = {}
    rows = []
    for setting in settings:
        for value in setting.values:
            values = usual | {setting.key: value}
            net = tuple(values.values())
            if net not in measured:
                print(f"measuring {setting.key}={value:g}", flush=True)
                overrides = [f"{key}={number:g}" for key, number in values.items()]
                kept = "runtime.checkpoint_activations=off"
                steps = 1 if values["depth"] > DEEP else 3
                measured[net] = peak_memory("kept", (*CIFAR, *overrides, kept), steps)
            rows.append({"setting": setting.key, "value": value, **measured[net]})
    return rows


def relative(rows: list[dict[str, Any]], setting: Setting) -> dict[str, list[float]]:
    """The amounts of each value of a setting, divided by those of the usual one."""
    every = {r["value"]: amounts(r) for r in rows if r["setting"] == setting.key}
    usual = every[setting.usual]
    return {line: [every[value][line] / usual[line] for value in setting.values] for line in LINES}


def tick_labels(values: tuple[float, ...]) -> list[str]:
    """The values as text; empty for those too close to the one before."""
    labels, last = [], 0.0
    for value in values:
        crowded = value < CROWDED * last
        labels.append("" if crowded else f"{value:g}")
        last = last if crowded else value
    return labels


def draw(rows: list[dict[str, Any]], settings: tuple[Setting, ...]) -> Figure:
    """A panel for each setting: time, memory and multiply-adds, on logarithmic axes."""
    with rc_context(rc()):
        height = (len(settings) + 1) // 2
        figure = Figure(figsize=(8, 2.7 * height))
        panels = figure.subplots(height, 2, squeeze=False).flat
        for axes, setting in zip(panels, settings, strict=True):
            for name, values in relative(rows, setting).items():
                colour, style, marker = LINES[name]
                axes.plot(
                    *(setting.values, values, style),
                    **{"color": colour, "marker": marker, "markersize": 4, "label": name},
                )
            axes.set(xscale="log", yscale="log", xlabel=setting.name)
            axes.set(ylabel=f"multiple of that at {setting.usual:g}")
            axes.set_xticks(setting.values, tick_labels(setting.values))
            axes.set_xticks([], minor=True)
        figure.subplots_adjust(
            left=0.08, right=0.87, bottom=0.18 / height, top=1, wspace=0.6, hspace=0.35
        )
        title = "What a training step takes, relative to ResNet-20 with 128 images of 32x32"
        write_title(figure, title)
        label_lines(figure)
    return figure


def table(results: dict[str, Any], settings: tuple[Setting, ...] = SETTINGS) -> list[list[str]]:
    """Each value with its time and memory, and both relative to the usual net."""
    rows = results["rows"]
    cells = [["setting", "value", "step (s)", "memory (GB)", "peak of the process (GB)"]]
    cells[0] += [f"{line}, relative" for line in LINES]
    for setting in settings:
        compared = relative(rows, setting)
        for place, row in enumerate(r for r in rows if r["setting"] == setting.key):
            taken = amounts(row)
            cells.append(
                [
                    *(setting.name, f"{row['value']:g}", f"{taken['time']:.3f}"),
                    *(f"{taken['memory']:.2f}", f"{row['peak_gb']:.2f}"),
                    *(f"{values[place]:.2f}" for values in compared.values()),
                ]
            )
    return cells


def measure_growth(folder: Path, short: bool, command: str) -> None:
    """Measure, print the table, and write growth.json, growth.md and growth.png."""
    settings = SHORT if short else SETTINGS
    results: dict[str, Any] = conditions(command)
    results["rows"] = rows = growth_rows(settings)
    write_results(folder, "growth", results, table(results, settings))
    save_figure(draw(rows, settings), folder / "growth", ("png",))
