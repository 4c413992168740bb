"""Measures how the time and memory of a step grow with the net: `make bench ARGS=--growth`.

One setting of a ResNet-20 changes at a time. Each net trains in a separate process.
"""

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure
from memory import peak_memory
from results import describe_conditions, write_results
from steps import CIFAR

from resnet_degradation.figures.labels import label_lines, write_title
from resnet_degradation.figures.style import SHADES, muted_colour, rc, save_figure


class Setting(NamedTuple):
    """A setting that changes: its key, its name, the usual value, and all values."""

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
DEEP = 1000  # for deeper nets, one step is enough

# Lines to draw, relative to the usual net. Multiply-adds come last, as the prediction.
LINES = {
    "time": (SHADES[True][1], "-", "o"),
    "memory": (SHADES[True][2], "-", "s"),
    "multiply-adds": (muted_colour(dark=False), "--", ""),
}
MIN_TICK_RATIO = 1.4  # two values with a smaller ratio get only one label


def measured_amounts(row: dict[str, Any]) -> dict[str, float]:
    """Return the seconds, GB of memory and (forward) multiply-adds of a step."""
    return {
        "time": row["step_seconds"],
        "memory": row["peak_gb"] - row["before_the_first_step_gb"],
        "multiply-adds": row["multiply_adds"] * row["batch_size"],
    }


def growth_rows(settings: tuple[Setting, ...]) -> list[dict[str, Any]]:
    """Measure each net; the usual net is measured once."""
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
    """Divide the amounts at each value of a setting by those at the usual value."""
    by_value = {r["value"]: measured_amounts(r) for r in rows if r["setting"] == setting.key}
    usual = by_value[setting.usual]
    return {
        line: [by_value[value][line] / usual[line] for value in setting.values] for line in LINES
    }


def tick_labels(values: tuple[float, ...]) -> list[str]:
    """Format the values; empty for those too close to the label before."""
    labels, last = [], 0.0
    for value in values:
        is_crowded = value < MIN_TICK_RATIO * last
        labels.append("" if is_crowded else f"{value:g}")
        last = last if is_crowded else value
    return labels


def draw(rows: list[dict[str, Any]], settings: tuple[Setting, ...]) -> Figure:
    """Draw a panel for each setting: time, memory and multiply-adds, on logarithmic axes."""
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
    """Make a table of each value with its time and memory, also relative to the usual net."""
    rows = results["rows"]
    cells = [["setting", "value", "step (s)", "memory (GB)", "peak of the process (GB)"]]
    cells[0] += [f"{line}, relative" for line in LINES]
    for setting in settings:
        compared = relative(rows, setting)
        for place, row in enumerate(r for r in rows if r["setting"] == setting.key):
            taken = measured_amounts(row)
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
    results: dict[str, Any] = describe_conditions(command)
    results["rows"] = rows = growth_rows(settings)
    write_results(folder, "growth", results, table(results, settings))
    save_figure(draw(rows, settings), folder / "growth", ("png",))
