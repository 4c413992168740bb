"""The report of a study, from the files of its runs: tables, verdicts and conditions.

`report.md`, `report.html` and the terminal show the same content.
"""

import dataclasses
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from omegaconf import OmegaConf
from rich import table as terminal
from rich.console import Console

from resnet_degradation.config.custom_code import attribute_of
from resnet_degradation.config.identity import (
    distinct_names,
    distinct_run_names,
    dotted,
    run_folder,
)
from resnet_degradation.figures.captions import conditions
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.reference import paper
from resnet_degradation.studies.definition import Study, write_index
from resnet_degradation.studies.drawings import draw_figures
from resnet_degradation.studies.findings import (
    NET_SETTINGS,
    find_cautions,
    find_verdicts,
    response_verdict,
)
from resnet_degradation.studies.results import (
    Net,
    Result,
    by_net,
    mean_and_spread,
    read_result,
    write_results,
)
from resnet_degradation.studies.verdict import RULE
from resnet_degradation.system.atomic_files import atomic_write


class Cell(NamedTuple):
    """A cell of a table: its text, what it is sorted by (if not the text), and a link."""

    text: str
    value: Any = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table with one name per column; rows start with the name of a net or run."""

    columns: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Report:
    """The content of a report, as the templates and the terminal show it."""

    study: Study
    title: str
    conditions: str
    held_out_name: str
    verdicts: list[str]
    cautions: list[str]
    missing: list[str]  # runs that are not in the report, and why
    explanation: str
    nets: Table
    notes: list[str]  # why values of the paper are not comparable
    runs: Table
    seconds: float
    command: str
    shared: str  # settings of all runs, as YAML
    differing: Table  # settings that differ, by net
    environments: dict[str, list[str]]  # versions and hardware, as YAML -> runs
    rule: str = RULE


def write_report(study: Study, arguments: list[str], missing: list[str]) -> Report:
    """Draw the figures of a study of finished runs, and write its tables and report.

    arguments: those of the command, which the report repeats. missing: runs that failed, and why.
    """
    results = [read_result(run) for run in study.runs]
    verdicts = find_verdicts(results)
    if "responses" in study.figures:
        verdicts.append(response_verdict(results))
    write_index(study, verdicts)
    write_results(study.folder / "results.csv", results)
    nets, notes = net_table(by_net(results), held_out_name := _held_out_name(results))
    shared, differing = _settings(results)
    names = distinct_run_names(study.runs)
    environments: dict[str, list[str]] = {}
    for name, result in zip(names, results, strict=True):
        text = OmegaConf.to_yaml(OmegaConf.create(result.environment)).strip()
        environments.setdefault(text, []).append(name)
    report = Report(
        study=study,
        title=study.drawing.title or study.name,
        conditions=conditions(study.runs),
        held_out_name=held_out_name,
        verdicts=verdicts,
        cautions=find_cautions(results),
        missing=missing,
        explanation=_explanation(study, results),
        nets=nets,
        notes=notes,
        runs=_run_table(names, results, held_out_name, study.folder),
        seconds=sum(result.seconds for result in results),
        command=shlex.join(["resnet-study", *(arguments or [f"study={study.name}"])]),
        shared=shared,
        differing=differing,
        environments=environments,
    )
    content = vars(report) | {"figures": draw_figures(study)}
    for name in ("report.md", "report.html"):
        templates = jinja2.Environment(
            loader=jinja2.PackageLoader("resnet_degradation.studies"),
            autoescape=name.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        with atomic_write(study.folder / name) as stream:
            stream.write(templates.get_template(f"{name}.jinja").render(content))
    return report


def net_table(nets: list[Net], held_out_name: str) -> tuple[Table, list[str]]:
    """Final errors per net beside the paper's, and notes on values that are not comparable."""
    rows: list[list[Cell]] = []
    marks: dict[str, str] = {}  # by note
    for position, net in enumerate(nets):
        results, reference = net.results, paper.reference(net.config)
        train = [result.train_error for result in results]
        held_out = [r.held_out_error for r in results if r.held_out_error is not None]
        theirs = Cell("-", "")
        if reference is not None:
            text = f"{reference} ({reference.table})"
            if note := _not_comparable(net, reference):
                text += marks.setdefault(note, "†" * (len(marks) + 1))
            theirs = Cell(text, reference.error)
        num_parameters, multiply_adds = results[0].num_parameters, results[0].multiply_adds
        seconds = sum(result.seconds for result in results)
        rows.append(
            [
                Cell(net.name, position),
                Cell(f"{num_parameters:,}", num_parameters),
                Cell(f"{multiply_adds / 1e6:,.1f} M", multiply_adds),
                Cell(mean_and_spread(train), mean(train)),
                Cell(mean_and_spread(held_out), mean(held_out) if held_out else ""),
                theirs,
                Cell(", ".join(str(result.config.seed) for result in results), position),
                Cell(f"{seconds:.0f}", seconds),
            ]
        )
    errors = ("training error (%)", f"{held_out_name} error (%)", "the paper (%)")
    columns = ["net", "parameters", "multiply-adds", *errors, "seeds", "seconds"]
    return Table(columns, rows), [f"{mark} {note}" for note, mark in marks.items()]


def _not_comparable(net: Net, reference: paper.Reference) -> str:
    """Why the paper's value is not comparable; empty if it is."""
    num_skipped = max(result.num_skipped_images for result in net.results)
    different = paper.differences(net.config, num_skipped)
    if reference.testing != "single view":
        different.append(f"tested on a single view, the paper's by {reference.testing}")
    if not different:
        return ""
    cifar = net.config.family == "cifar"
    images = "CIFAR-10's test images" if cifar else "ImageNet's validation images"
    return (
        f"Not comparable: the paper's error is on {images} by its own recipe; "
        f"here: {'; '.join(different)}."
    )


def _run_table(names: list[str], results: list[Result], held_out_name: str, start: Path) -> Table:
    """Final errors per run, with links to their folders from `start`."""
    rows = []
    for position, (name, result) in enumerate(zip(names, results, strict=True)):
        error = result.held_out_error
        link = quote(Path(os.path.relpath(result.folder, start)).as_posix())
        rows.append(
            [
                Cell(name, position),
                Cell(f"{result.train_error:.2f}", result.train_error),
                Cell("-", "") if error is None else Cell(f"{error:.2f}", error),
                Cell(f"{result.iterations:,}", result.iterations),
                Cell(f"{result.seconds:.0f}", result.seconds),
                Cell(result.folder.name, position, link),
            ]
        )
    errors = ("training error (%)", f"{held_out_name} error (%)")
    return Table(["run", *errors, "iterations", "seconds", "folder"], rows)


def _held_out_name(results: list[Result]) -> str:
    names = {"test" if result.errors.val_error is None else "validation" for result in results}
    return " / ".join(sorted(names))


def _settings(results: list[Result]) -> tuple[str, Table]:
    """The settings that all runs recorded alike, as YAML, and a table of the others."""
    recorded = [dotted(dataclasses.asdict(read_config(result.folder))) for result in results]
    differing = [
        key
        for key in dict.fromkeys((*NET_SETTINGS, *recorded[0]))
        if key != "seed" and any(settings[key] != recorded[0][key] for settings in recorded)
    ]
    shared = OmegaConf.create()
    for key, value in recorded[0].items():
        if key not in ("seed", *differing):
            OmegaConf.update(shared, key, value)
    seeds: dict[tuple[str, ...], list[str]] = {}  # by name and values
    for name, settings in zip(distinct_names([r.config for r in results]), recorded, strict=True):
        values = ["-" if settings[key] is None else str(settings[key]) for key in differing]
        seeds.setdefault((name, *values), []).append(str(settings["seed"]))
    rows = [
        [Cell(text) for text in (name, ", ".join(of_net), *values)]
        for (name, *values), of_net in seeds.items()
    ]
    return OmegaConf.to_yaml(shared).strip(), Table(["net", "seeds", *differing], rows)


def _explanation(study: Study, results: list[Result]) -> str:
    """What the errors in the tables mean."""
    numbers = sorted({result.errors.num_train_images for result in results})
    images = " or ".join(f"{number:,}" for number in numbers)
    deviation = "" if study.is_single_seed() else " ± standard deviation over the seeds"
    text = (
        f"Mean{deviation}, of the last iterate. Training error is counted in training mode on "
        f"the last {images} augmented images of a run; parameters and multiply-adds (of one "
        "image) are counted from the net itself."
    )
    if any(paper.reference(run) for run in study.runs):
        top1 = any(run.family == "imagenet" for run in study.runs)
        text += f" The paper's are {'top-1' if top1 else 'test'} errors."
    return text


def print_report(report: Report, console: Console) -> None:
    """Print the table, the verdicts, and where everything is."""
    study = report.study
    for run in report.missing:
        console.print(f"Not in the report: {run}", highlight=False, markup=False)
    table = terminal.Table(title="Final errors (%)")
    table.add_column("net", overflow="fold", min_width=9)
    # The paper's values only where they are comparable, because there is no room for notes.
    comparable = not report.notes and any(row[5].value for row in report.nets.rows)
    columns = {1: "parameters", 3: "training", 4: report.held_out_name}
    columns |= ({5: "paper"} if comparable else {}) | {6: "seeds", 7: "seconds"}
    for column in columns.values():
        table.add_column(column, justify="right", no_wrap=True)
    for row in report.nets.rows:
        name = row[0].text.replace(" (", "\n(")
        table.add_row(name, *(row[number].text for number in columns))
    console.print()
    console.print(table)
    console.print("Verdict", style="bold")
    for line in (*report.verdicts, *(f"Caution: {caution}" for caution in report.cautions)):
        console.print(f"- {line}", highlight=False, markup=False)
    if study.is_single_seed():
        console.print("- One seed; the spread over three: 'seeds=[0,1,2]'", highlight=False)
    console.print()
    figures = [study.folder / attribute_of(name) for name in study.figures]
    for what, where in (
        ("report", f"{study.folder / 'report.html'} (or .md)"),
        *(("figure", f"{figure}.png (.svg, .pdf)") for figure in figures),
        ("table", str(study.folder / "results.csv")),
        ("runs", f"{run_folder(study.runs[0]).parent}/"),
        ("curves", f"tensorboard --logdir {shlex.quote(study.runs[0].output_dir)}"),
    ):
        console.print(f"{what:>7}: {where}", highlight=False, markup=False, soft_wrap=True)
