"""Writes the report and the figures of `make check-gpu` from its results."""

import math
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from resnet_degradation.config.identity import flatten_dict
from resnet_degradation.figures.style import rc, save_figure


def write_report(folder: Path, results: dict[str, Any], curves: dict[str, list[float]]) -> None:
    """Write report.md, speeds.png and curve.png.

    curves: maps each device to its training errors in percent, every 10 iterations.
    """
    lines = ["# GPU check", "", f"Failures: {'; '.join(results['failures']) or 'none'}", ""]
    lines += [f"- {key}: {value}" for key, value in flatten_dict(results["environment"]).items()]
    if skipped := results.get("skipped"):
        lines += ["", f"There was no time left for: {', '.join(skipped)}."]
    lines += ["", "## Tests", "", results.get("tests", "Not run.")]
    lines += ["", "## Training steps", ""]
    if speeds := results.get("images_per_second"):
        draw_speeds(folder / "speeds", speeds)
        lines += ["![Images per second](speeds.png)", "", "| step | images/s |", "| --- | ---: |"]
        lines += [f"| {name} | {speed:,} |" for name, speed in speeds.items()]
    else:
        lines += ["Not measured."]
    lines += ["", "## Training curves of GPU and CPU", ""]
    if curve := results.get("curve"):
        draw_curves(folder / "curve", curves)
        final = curve["final_train_error"]
        lines += [
            "![Training errors](curve.png)",
            "",
            f"ResNet-20, {curve['iterations']} iterations: the training errors of the two devices "
            f"differ by {curve['mean_difference_points']} points on average (at most "
            f"{curve['bound']:g} are accepted). They end at "
            + " and ".join(f"{error:.1f} % ({device})" for device, error in final.items())
            + ".",
        ]
    else:
        lines += ["Not measured."]
    lines += ["", "## Memory", ""]
    if memory := results.get("memory"):
        peak = "not measured" if memory["peak_gb"] is None else f"{memory['peak_gb']:.2f} GB"
        lines += [f"ResNet-{memory['depth']}: peak {peak}, {memory['seconds_a_step']} s a step."]
    else:
        lines += ["Not measured."]
    lines += ["", "## Input pipeline", ""]
    if pipeline := results.get("pipeline"):
        speed, workers = pipeline["images_per_second"], pipeline["num_workers"]
        lines += [f"JPEG files of 500x375: {speed:,} images/s with {workers} workers."]
    else:
        lines += ["Not measured."]
    (folder / "report.md").write_text("\n".join(lines) + "\n", "utf-8")


def draw_speeds(stem: Path, speeds: dict[str, int]) -> None:
    """Draw images per second as bars on a log axis: this project blue, other code grey."""
    with rc_context(rc()):
        figure = Figure(figsize=(7, 0.8 + 0.28 * len(speeds)), layout="constrained")
        axes = figure.subplots()
        colours = ["#2FA3BC" if name.startswith("ResNet") else "#999999" for name in speeds]
        axes.barh(list(speeds), [max(1, speed) for speed in speeds.values()], color=colours)
        for position, speed in enumerate(speeds.values()):
            axes.text(max(1, speed) * 1.05, position, f"{speed:,}", va="center")
        lowest, highest = max(1, min(speeds.values())), max(1, *speeds.values())
        axes.set(xscale="log", xlabel="images/s")
        axes.set_xlim(10 ** math.floor(math.log10(lowest)) / 1.5, highest * 3)
        axes.invert_yaxis()
    save_figure(figure, stem, ("png",))


def draw_curves(stem: Path, curves: dict[str, list[float]]) -> None:
    """Draw training error against iterations, for both devices."""
    with rc_context(rc()):
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        for (device, errors), line in zip(curves.items(), ("-", "--"), strict=False):
            axes.plot([10 * (n + 1) for n in range(len(errors))], errors, line, label=device)
        axes.set(xlabel="iterations", ylabel="training error (%)")
        axes.legend()
    save_figure(figure, stem, ("png",))
