"""Writes the report of a study from the files of its runs.

`report.md`, `report.html` and the terminal show the same content.
"""

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table as TerminalTable

from resnet_degradation.config.identity import (
    NET_SETTINGS,
    distinct_names,
    distinct_run_names,
    flatten_dict,
    run_folder,
)
from resnet_degradation.config.schema import Config
from resnet_degradation.console.lines import print_line, print_path, print_table
from resnet_degradation.figures.labels import compose_caption, describe_conditions
from resnet_degradation.records.run_folder import read_config
from resnet_degradation.reference import paper
from resnet_degradation.studies.definition import Study, write_index
from resnet_degradation.studies.drawings import draw_figures
from resnet_degradation.studies.findings import (
    find_cautions,
    find_verdicts,
    summarize_responses,
)
from resnet_degradation.studies.grid_findings import find_grid_verdicts
from resnet_degradation.studies.results import (
    NetResults,
    Result,
    format_mean_and_spread,
    group_results_by_net,
    read_result,
    write_results,
)
from resnet_degradation.studies.tables import write_tables
from resnet_degradation.studies.verdict import RULE
from resnet_degradation.system.templates import write_from_templates

TableRows = list[dict[str, str]]  # each row maps column names to cell texts
MIN_NAME_WIDTH = 20  # characters; the terminal's table does not wrap shorter names of nets
TRAINING_COLUMN, PAPER_COLUMN = "training error (%)", "the paper (%)"


def write_report(study: Study, arguments: list[str], missing: list[str]) -> dict[str, Any]:
    """Draw the figures of a study whose runs are finished, and write its tables and report.

    Returns the content of the report, for the templates.

    arguments: the arguments of the command, which the report repeats.
    missing: descriptions of the failed runs.
    """
    results = [read_result(run) for run in study.runs]
    verdicts = find_grid_verdicts(results, study.grid) if study.grid else find_verdicts(results)
    if "responses" in study.figures:
        verdicts.append(summarize_responses(results))
    write_index(study, verdicts)
    write_results(study.folder / "results.csv", results)
    write_paper_tables(study.folder, results)
    content = _make_tables(results) | {
        "links": {
            result.folder.name: quote(Path(os.path.relpath(result.folder, study.folder)).as_posix())
            for result in results
        },
        "title": study.drawing.title or study.name,
        "conditions": describe_conditions(study.runs),
        "figures": draw_figures(study),
        "missing": missing,
        "verdicts": [
            *verdicts,
            *(f"Caution: {caution}" for caution in find_cautions(results, study.grid)),
        ],
        "rule": RULE,
        "seconds": sum(result.seconds for result in results),
        "command": shlex.join(["resnet-study", *(arguments or [f"study={study.name}"])]),
    }
    if len({run.seed for run in study.runs}) == 1:
        content["verdicts"].append(
            "One seed: the spread over seeds is not known. 'seeds=[0,1,2]' trains three"
        )
    names = ["report.md", "report.html"]
    write_from_templates("resnet_degradation.studies", study.folder, names, content)
    return content


def write_paper_tables(folder: Path, results: list[Result]) -> list[Path]:
    """Write a table of final errors in Markdown and LaTeX; return the paths of the files."""
    nets = group_results_by_net(results)
    table, notes = make_net_table(nets, _held_out_heading(results))
    conditions_and_seeds = compose_caption(
        [config for _, config, _ in nets],
        [len(results) for *_, results in nets],
        "mean ± standard deviation",
    )
    all_notes = [f"{conditions_and_seeds}.", _explain_errors(results), *notes]
    return write_tables(folder, table, all_notes)


def _held_out_heading(results: list[Result]) -> str:
    kinds = {"test" if result.errors.val_error is None else "validation" for result in results}
    return f"{' / '.join(sorted(kinds))} error (%)"


def _make_tables(results: list[Result]) -> dict[str, Any]:
    """The tables of a report, with their notes and explanations."""
    names = distinct_run_names([result.config for result in results])
    held_out = _held_out_heading(results)
    nets, notes = make_net_table(group_results_by_net(results), held_out)
    runs = [
        {
            "run": name,
            TRAINING_COLUMN: f"{result.errors.train_error:.2f}",
            held_out: format_mean_and_spread([result.errors.held_out_error()]),
            "iterations": f"{result.iterations:,}",
            "seconds": f"{result.seconds:.0f}",
            "folder": result.folder.name,
        }
        for name, result in zip(names, results, strict=True)
    ]
    shared, differing = _split_settings(results)
    environments: dict[str, list[str]] = {}  # YAML of versions and hardware -> names of runs
    for name, result in zip(names, results, strict=True):
        yaml = OmegaConf.to_yaml(OmegaConf.create(result.environment)).strip()
        environments.setdefault(yaml, []).append(name)
    return {
        "nets": nets,
        "notes": notes,
        "explanation": _explain_errors(results),
        "runs": runs,
        "shared": shared,
        "differing": differing,
        "environments": environments,
    }


def make_net_table(nets: list[NetResults], held_out: str) -> tuple[TableRows, list[str]]:
    """Make a table of each net's final errors and the paper's, and notes on what is not comparable.

    held_out: the name of the column of held-out errors.
    """
    table: TableRows = []
    marks: dict[str, str] = {}  # note -> its mark in the table
    for name, config, results in nets:
        paper_error = "-"
        if (reference := paper.find_reference(config)) is not None:
            paper_error = f"{reference} ({reference.table})"
            if note := _explain_mismatch(config, results, reference):
                paper_error += marks.setdefault(note, "†" * (len(marks) + 1))
        table.append(
            {
                "net": name,
                "parameters": f"{results[0].num_parameters:,}",
                "multiply-adds": f"{results[0].multiply_adds / 1e6:,.1f} M",
                TRAINING_COLUMN: format_mean_and_spread(
                    [result.errors.train_error for result in results]
                ),
                held_out: format_mean_and_spread(
                    [result.errors.held_out_error() for result in results]
                ),
                PAPER_COLUMN: paper_error,
                "seeds": ", ".join(str(result.config.seed) for result in results),
                "seconds": f"{sum(result.seconds for result in results):.0f}",
            }
        )
    return table, [f"{mark} {note}" for note, mark in marks.items()]


def _explain_mismatch(config: Config, results: list[Result], reference: paper.Reference) -> str:
    """Explain why the paper's error is not comparable; "" if it is comparable."""
    differences = paper.list_differences(
        config, max(result.num_skipped_images for result in results)
    )
    if reference.protocol != "single view":
        differences.append(f"tested on a single view, the paper's by {reference.protocol}")
    if not differences:
        return ""
    is_cifar = config.family == "cifar"
    images = "CIFAR-10's test images" if is_cifar else "ImageNet's validation images"
    return (
        f"Not comparable: the paper's error is on {images} by its own recipe; "
        f"here: {'; '.join(differences)}."
    )


def _split_settings(results: list[Result]) -> tuple[str, TableRows]:
    """Split the settings of the runs: YAML of those that all share, and a table of the others."""
    recorded = [flatten_dict(dataclasses.asdict(read_config(result.folder))) for result in results]
    differing = [
        key
        for key in dict.fromkeys((*NET_SETTINGS, *recorded[0]))
        if key != "seed" and any(settings[key] != recorded[0][key] for settings in recorded)
    ]
    shared = OmegaConf.create()
    for key, value in recorded[0].items():
        if key not in ("seed", *differing):
            OmegaConf.update(shared, key, value)
    seeds: dict[tuple[str, ...], list[str]] = {}  # keyed by name and differing values
    for name, settings in zip(distinct_names([r.config for r in results]), recorded, strict=True):
        values = ["-" if settings[key] is None else str(settings[key]) for key in differing]
        seeds.setdefault((name, *values), []).append(str(settings["seed"]))
    table = [
        {"net": name, "seeds": ", ".join(net_seeds)} | dict(zip(differing, values, strict=True))
        for (name, *values), net_seeds in seeds.items()
    ]
    return OmegaConf.to_yaml(shared).strip(), table


def _explain_errors(results: list[Result]) -> str:
    """Explain the errors in the tables."""
    counts = sorted({result.errors.num_counted_images for result in results})
    images = " or ".join(f"{count:,}" for count in counts)
    has_several_seeds = len(results) > len(group_results_by_net(results))
    spread = ": mean ± standard deviation over seeds" if has_several_seeds else ""
    text = (
        f"Errors are those of the last iterate{spread}. Training "
        f"error is counted in training mode on the last {images} augmented images of a run; "
        "parameters and multiply-adds (of one image) are counted from the net itself."
    )
    configs = [result.config for result in results]
    if any(map(paper.find_reference, configs)):
        is_imagenet = any(config.family == "imagenet" for config in configs)
        text += f" The paper's errors are {'top-1' if is_imagenet else 'test'} errors."
    return text


def print_report(study: Study, content: dict[str, Any], console: Console) -> None:
    """Print the table of nets, the verdicts and the paths of the files."""
    for run in content["missing"]:
        print_line(console, f"Not in the report: {run}")
    table = TerminalTable(title="Final errors (%)")
    longest = max(len(row["net"].split(" (")[0]) for row in content["nets"])
    table.add_column("net", overflow="fold", min_width=min(longest, MIN_NAME_WIDTH))
    columns = [column for column in content["nets"][0] if column not in ("net", "multiply-adds")]
    # Show the paper's errors only if all are comparable, because there is no room for notes.
    if content["notes"] or all(row[PAPER_COLUMN] == "-" for row in content["nets"]):
        columns.remove(PAPER_COLUMN)
    # With one seed per net, the heading must not read like a number of seeds.
    seeds = "seeds" if any("," in row["seeds"] for row in content["nets"]) else "seed"
    for column in columns:
        heading = column.removesuffix(" (%)").removesuffix(" error").replace("seeds", seeds)
        table.add_column(heading, justify="right", no_wrap=True)
    for row in content["nets"]:
        table.add_row(row["net"].replace(" (", "\n("), *(row[column] for column in columns))
    console.print()
    print_table(console, table, ("parameters", "seconds", seeds))
    console.print("Verdict", style="bold")
    for line in content["verdicts"]:
        console.print(f"- {line}", highlight=False, markup=False)
    console.print()
    files = [("report", study.folder / "report.html", " (or .md)")]
    for figure in content["figures"]:
        files.append(("figure", study.folder / f"{figure['name']}.png", " (.svg, .pdf)"))
    files.append(("table", study.folder / "results.csv", " (.md, .tex)"))
    for label, file, other_formats in files:
        print_path(console, f"{label:>7}: ", file, other_formats)
    print_line(console, f"   runs: {run_folder(study.runs[0]).parent}/")
    logs = shlex.quote(study.runs[0].output_dir)
    print_line(console, f" curves: tensorboard --logdir {logs}")
