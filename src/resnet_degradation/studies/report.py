"""The report of a study, from the files of its runs: figures, tables, verdicts, conditions."""

import base64
import dataclasses
import json
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
import numpy as np
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from resnet_degradation.config.custom_code import attribute_of, is_custom, load_custom
from resnet_degradation.config.identity import dotted
from resnet_degradation.config.naming import distinct_names, distinct_run_names
from resnet_degradation.config.schema import Config
from resnet_degradation.figures.captions import conditions
from resnet_degradation.figures.registry import FIGURES, Maker
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.reference import paper
from resnet_degradation.studies.definition import Study, write_index
from resnet_degradation.studies.results import (
    OF_A_NET,
    Result,
    by_net,
    find_cautions,
    find_verdicts,
    mean_and_spread,
    read_result,
    response_verdict,
    write_results,
)
from resnet_degradation.studies.verdict import RULE
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


ALT_TEXTS = {
    "curves": "Training and held-out error of every net against iterations",
    "depths": "Final training error of plain and residual nets against depth",
    "responses": "Standard deviation of the responses of every net's 3x3 layers",
}


@dataclass(frozen=True)
class NetRow:
    """One net of the report's table; errors in percent, as text with their spread over seeds."""

    name: str
    num_parameters: int
    multiply_adds: int
    train_error: str
    held_out_error: str
    paper: str  # the paper's error and its table, marked where it is not comparable
    seeds: str
    seconds: float
    mean_train_error: float
    mean_held_out_error: float | None
    paper_error: float | None


@dataclass(frozen=True)
class Report:
    """What a study came to, ready to be written or printed."""

    study: Study
    results: list[Result]
    nets: list[NetRow]
    held_out_name: str
    verdicts: list[str]
    cautions: list[str]
    notes: list[str]  # what keeps the paper's values from being comparable
    missing: list[str]  # runs that are not in it, and why


def write_report(study: Study, arguments: list[str], missing: list[str]) -> Report:
    """Draw the figures of a study of finished runs, and write its tables and report.

    arguments: of the command that made it, to be repeated. missing: runs that the study should
    have and has not, each with the reason.
    """
    results = [read_result(run) for run in study.runs]
    verdicts = find_verdicts(results)
    if "responses" in study.figures:
        verdicts.append(response_verdict(results))
    write_index(study, verdicts)
    write_results(study.folder / "results.csv", results)
    draw = {attribute_of(name): _figure(name, study, results) for name in study.figures}
    for name, figure in draw.items():
        save_figure(figure(), study.folder / name)
    nets, notes = net_rows(results)
    held_out_name, cautions = _held_out_name(results), find_cautions(results)
    report = Report(study, results, nets, held_out_name, verdicts, cautions, notes, missing)
    content = _content(report, arguments)
    for name in ("report.md", "report.html"):
        pages = {} if name == "report.md" else {"pages": [_page(n, draw[n]) for n in draw]}
        text = _template(name).render(content | pages)
        with atomic_write(study.folder / name) as stream:
            stream.write(text)
    return report


def _figure(name: str, study: Study, results: list[Result]) -> Callable[..., "Figure"]:
    """A function that draws a figure of the study: with its title or without, light or dark."""
    make: Maker = load_custom(name, "study.figures") if is_custom(name) else FIGURES[name]
    folders, untitled = [result.folder for result in results], replace(study.drawing, title="")

    def draw(titled: bool = True, dark: bool = False) -> "Figure":
        import matplotlib as mpl

        with mpl.rc_context(rc(dark)):  # a user's function, too, draws by our settings
            figure = make(folders, study.drawing if titled else untitled, dark)
        if not hasattr(figure, "savefig"):
            raise ConfigError(
                f"study.figures: {name} gave a {type(figure).__name__}, not a matplotlib Figure"
            )
        return figure

    return draw


def net_rows(results: list[Result]) -> tuple[list[NetRow], list[str]]:
    """A row for every net, and the notes that its paper's value refers to."""
    rows: list[NetRow] = []
    notes: dict[str, str] = {}  # what differs -> its mark
    for net in by_net(results):
        config, members = net.config, net.results
        held_out = [r.held_out_error for r in members if r.held_out_error is not None]
        reference = paper.reference(config)
        told = "-"
        if reference is not None:
            told = f"{reference} ({reference.table})"
            num_skipped = max(result.num_skipped_images for result in members)
            if note := _not_comparable(config, reference, num_skipped):
                told += notes.setdefault(note, "†" * (len(notes) + 1))
        rows.append(
            NetRow(
                name=net.name,
                num_parameters=members[0].num_parameters,
                multiply_adds=members[0].multiply_adds,
                train_error=mean_and_spread([result.train_error for result in members]),
                held_out_error=mean_and_spread(held_out),
                paper=told,
                seeds=", ".join(str(result.config.seed) for result in members),
                seconds=sum(result.seconds for result in members),
                mean_train_error=mean(result.train_error for result in members),
                mean_held_out_error=mean(held_out) if held_out else None,
                paper_error=None if reference is None else reference.error,
            )
        )
    return rows, [f"{mark} {note}" for note, mark in notes.items()]


def _not_comparable(config: Config, reference: paper.Reference, num_skipped: int) -> str:
    """What keeps the paper's value from being comparable; empty if nothing does."""
    images = {
        "cifar": "CIFAR-10's test images",
        "imagenet": "ImageNet's validation images",
    }[str(config.family)]
    different = paper.differences(config, num_skipped)
    if reference.testing != "single view":
        different.append(f"tested on a single view, the paper's by {reference.testing}")
    if not different:
        return ""
    return (
        f"Not comparable: the paper's error is on {images} by its own recipe; "
        f"here: {'; '.join(different)}."
    )


def _held_out_name(results: list[Result]) -> str:
    names = {"test" if result.errors.val_error is None else "validation" for result in results}
    return " / ".join(sorted(names))


def _content(report: Report, arguments: list[str]) -> dict[str, Any]:
    """What both templates show."""
    study, results = report.study, report.results
    configs = [result.config for result in results]
    names = distinct_run_names(configs)
    environments: dict[str, list[str]] = {}
    for name, result in zip(names, results, strict=True):
        text = OmegaConf.to_yaml(OmegaConf.create(result.environment)).strip()
        environments.setdefault(text, []).append(name)
    return vars(report) | {
        "title": study.drawing.title or study.name,
        "conditions": conditions(configs),
        "command": shlex.join(["resnet-study", *(arguments or [f"study={study.name}"])]),
        "single_seed": study.is_single_seed(),
        "figures": {n: ALT_TEXTS.get(n, n) for n in map(attribute_of, study.figures)},
        "explained": explained(report),
        "seconds": sum(result.seconds for result in results),
        "configuration": configuration(results),
        "environments": environments,
        "runs": list(zip(names, results, strict=True)),
        "link": lambda result: _relative(result.folder, study.folder),
    }


@dataclass(frozen=True)
class Configuration:
    """The settings that all runs share, as YAML, and a table of those that differ among them."""

    shared: str
    differing: list[str]  # dotted keys; the seed is not among them
    rows: list[tuple[str, str, list[str]]]  # a net, its seeds, and the values of `differing`


def configuration(results: list[Result]) -> Configuration:
    """The settings of the runs, as each of them recorded its own."""
    recorded = [dotted(dataclasses.asdict(read_config(result.folder))) for result in results]
    differing = [
        key
        for key in dict.fromkeys((*OF_A_NET, *recorded[0]))
        if key != "seed" and any(settings[key] != recorded[0][key] for settings in recorded)
    ]
    shared = OmegaConf.create()
    for key, value in recorded[0].items():
        if key != "seed" and key not in differing:
            OmegaConf.update(shared, key, value)
    names = distinct_names([result.config for result in results])
    seeds: dict[tuple[str, ...], list[str]] = {}  # of a net and its values
    for name, settings in zip(names, recorded, strict=True):
        values = [_cell(settings[key]) for key in differing]
        seeds.setdefault((name, *values), []).append(str(settings["seed"]))
    rows = [(name, ", ".join(of_net), values) for (name, *values), of_net in seeds.items()]
    return Configuration(OmegaConf.to_yaml(shared).strip(), differing, rows)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def explained(report: Report) -> dict[str, str]:
    """What the report's numbers mean, in sentences."""
    images = " or ".join(
        f"{number:,}" for number in sorted({r.errors.num_train_images for r in report.results})
    )
    of_seeds = "" if report.study.is_single_seed() else " ± standard deviation over the seeds"
    top1 = any(result.config.family == "imagenet" for result in report.results)
    return {
        "verdicts": RULE,
        "errors": (
            f"Mean{of_seeds}, of the last iterate. Training error is counted in training mode on "
            f"the last {images} augmented images of a run; parameters and multiply-adds (of one "
            "image) are counted from the net itself."
        ),
        "paper": f"The paper's are {'top-1' if top1 else 'test'} errors."
        if any(net.paper_error for net in report.nets)
        else "",
    }


def _relative(folder: Path, to: Path) -> str:
    return quote(Path(os.path.relpath(folder, to)).as_posix())


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resnet_degradation.studies"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.jinja")


def _page(name: str, draw: Callable[..., "Figure"]) -> dict[str, Any]:
    """A figure for the page: as data URLs for light and dark, with the values of its lines."""
    figure = draw(titled=False)
    width, height = figure.get_size_inches()
    light = _data_url(figure, dark=False)  # drawing it also settles where everything is
    return {
        "name": name,
        "alt": ALT_TEXTS.get(name, name),
        "light": light,
        "dark": _data_url(draw(titled=False, dark=True), dark=True),
        "aspect": f"{width:.3f} / {height:.3f}",
        "width": round(width * 110),
        "lines": json.dumps(line_values(figure)),
    }


def _data_url(figure: "Figure", dark: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = save_figure(figure, Path(folder) / "figure", formats=("svg",), dark=dark)
        return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def line_values(figure: "Figure") -> list[dict[str, Any]]:
    """Where the panels of a drawn figure lie, and the named lines in them: values and places.

    Places are in shares of the figure, from its upper left corner, by the transform that draws
    them, whatever the scale of an axis; a box is [left, top, right, bottom].
    """
    from matplotlib.colors import to_hex

    panels = []
    for axes in figure.axes:
        box = axes.get_position()
        panels.append(
            {
                "box": [box.x0, 1 - box.y1, box.x1, 1 - box.y0],
                "horizontal": axes.get_xlabel().removesuffix(" (1e4)"),
                "lines": [
                    {
                        "name": line.get_label(),
                        "colour": to_hex(line.get_color()),
                        **_points(line, figure),
                    }
                    for line in axes.get_lines()
                    if not str(line.get_label()).startswith("_")
                ],
            }
        )
    return panels


def _points(line: "Line2D", figure: "Figure") -> dict[str, list[float]]:
    """The values of a line, and where they are in the figure; see line_values."""
    points = np.asarray(line.get_xydata(), dtype=float)
    places = (line.get_transform() - figure.transFigure).transform(points)
    # A reference line, as of axhline, is not given in values on both axes.
    assert line.axes is not None
    is_data = line.get_transform() == line.axes.transData
    values = points if is_data else (figure.transFigure - line.axes.transData).transform(places)
    drawn = np.isfinite(values).all(axis=1) & np.isfinite(places).all(axis=1)
    return {
        "x": [float(f"{x:.9g}") for x in values[drawn, 0]],
        "y": [float(f"{y:.5g}") for y in values[drawn, 1]],
        "across": places[drawn, 0].round(6).tolist(),
        "down": (1 - places[drawn, 1]).round(6).tolist(),
    }


def print_report(report: Report, console: Console) -> None:
    """Print the table, the verdicts, and where everything is."""
    study = report.study
    comparable = bool(not report.notes and any(net.paper != "-" for net in report.nets))
    columns = ["parameters", "training", report.held_out_name, "seeds", "seconds"]
    if comparable:
        columns.insert(3, "paper")
    for run in report.missing:
        console.print(f"Not in the report: {run}", highlight=False, markup=False)
    table = Table(title="Final errors (%)")
    table.add_column("net", overflow="fold", min_width=9)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for net in report.nets:
        cells = [f"{net.num_parameters:,}", net.train_error, net.held_out_error]
        cells += [net.paper] if comparable else []
        table.add_row(net.name.replace(" (", "\n("), *cells, net.seeds, f"{net.seconds:.0f}")
    console.print()
    console.print(table)
    console.print("Verdict", style="bold")
    for verdict in report.verdicts:
        console.print(f"- {verdict}", highlight=False, markup=False)
    for caution in report.cautions:
        console.print(f"- Caution: {caution}", highlight=False, markup=False)
    if study.is_single_seed():
        console.print("- One seed; the spread over three: 'seeds=[0,1,2]'", highlight=False)
    console.print()
    for what, where in (
        ("report", f"{study.folder / 'report.html'} (or .md)"),
        *(
            ("figure", f"{study.folder / attribute_of(name)}.png (.svg, .pdf)")
            for name in study.figures
        ),
        ("table", str(study.folder / "results.csv")),
        ("runs", f"{report.results[0].folder.parent}/"),
        ("curves", f"tensorboard --logdir {shlex.quote(report.results[0].config.output_dir)}"),
    ):
        console.print(f"{what:>7}: {where}", highlight=False, markup=False, soft_wrap=True)
