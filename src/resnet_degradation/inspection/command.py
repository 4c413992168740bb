"""`resnet-inspect` from the runs that are named to figures, tables and sentences."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from resnet_degradation.config.identity import net_name, run_name, short_hash
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import INSPECTIONS, InspectionConfig
from resnet_degradation.inspection.findings import Finding, find
from resnet_degradation.records.inspection import FOLDER
from resnet_degradation.records.run_folder import find_runs, read_config, without_copies
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_degradation.console.progress import Progress


def inspect(asked: InspectionConfig, console: Console, view: "Progress") -> Path:
    """Measure the named runs, draw what was found, print and write it; where the report is.

    Raises UserError for whatever the user can fix.
    """
    folders = named_runs(asked)
    after = _measure(folders, asked, view)
    where = results_folder(folders, asked.output_dir)
    where.mkdir(parents=True, exist_ok=True)
    findings = [f for what in dict.fromkeys(asked.what) if (f := find(what, folders)) is not None]
    from resnet_degradation.figures.style import save_figure

    for finding in findings:
        save_figure(_figure(finding, folders), where / finding.name)
        _show(finding, console)
    for what in set(asked.what) - {finding.name for finding in findings}:
        view.say(f"{what}: nothing to show (plain nets have no shortcuts)")
    _write(where, after, findings)
    view.say(f"report and figures: {where}/")
    return where


def _measure(folders: list[Path], asked: InspectionConfig, view: "Progress") -> dict[Path, int]:
    """Measure every run; the iteration after which each was looked into."""
    from resnet_degradation.inspection.measure import measure
    from resnet_degradation.training.build import choose_device
    from resnet_degradation.training.load_run import config_of_run, load_trained
    from resnet_degradation.training.memory import restore_settings, set_precision

    after: dict[Path, int] = {}
    with restore_settings():
        set_precision("fp32")
        device = choose_device(config_of_run(folders[0], asked.runtime))
        if len(folders) > 1:
            view.say(f"{len(folders)} runs")
        for number, folder in enumerate(folders, 1):
            trained = load_trained(folder, asked.runtime, device, asked.images, view.prepare)
            after[folder] = trained.iteration
            count = f" [{number}/{len(folders)}]" if len(folders) > 1 else ""
            view.say(f"{run_name(trained.config)} after {trained.iteration:,} iterations{count}")
            measure(trained, asked, view.prepare)
            view.end()
    return after


def named_runs(asked: InspectionConfig) -> list[Path]:
    """The folders of the runs that are asked for.

    Raises ConfigError if none is, or something is asked of them that there is not.
    """
    if not asked.run or not isinstance(asked.run, str | list):
        raise ConfigError("name what to inspect: run=FOLDER of a run or a study, or a list of them")
    names = [asked.run] if isinstance(asked.run, str) else asked.run
    for what in asked.what:
        if what not in INSPECTIONS:
            raise ConfigError(f"what={what} is not valid: choose of {', '.join(INSPECTIONS)}")
    if min(asked.images, asked.draws, asked.max_blocks) < 1 or not asked.what:
        raise ConfigError("what needs an entry, and images, draws and max_blocks at least 1")
    if asked.runtime.devices not in (1, "auto"):
        raise ConfigError("resnet-inspect runs in one process: omit runtime.devices")
    if asked.runtime.precision != "fp32":
        raise ConfigError("resnet-inspect computes in fp32: omit runtime.precision")
    folders = [folder for name in names for folder in find_runs(Path(expand_home(str(name))))]
    return without_copies(list(dict.fromkeys(folder.resolve() for folder in folders)))


def results_folder(folders: list[Path], output_dir: str) -> Path:
    """Where the figures of these runs go: into the run's own folder, if it is one."""
    if len(folders) == 1:
        return folders[0] / FOLDER
    nets = list(dict.fromkeys(net_name(read_config(folder)) for folder in folders))
    name = "+".join(nets[:4]) + (f"+{len(nets) - 4}-more" if len(nets) > 4 else "")
    return Path(output_dir) / "inspections" / f"{name}-{short_hash(' '.join(map(str, folders)))}"


def _figure(finding: Finding, folders: list[Path]) -> "Figure":
    from resnet_degradation.figures import inspection
    from resnet_degradation.figures.responses import load_responses, plot_responses
    from resnet_degradation.records.inspection import (
        BlockSizes,
        LayerStatsRow,
        LesionRow,
        read_table,
    )
    from resnet_degradation.records.layers import Response

    if finding.name == "responses":
        own = load_responses(
            folders, lambda folder: read_table(folder / FOLDER / "responses.csv", Response)
        )
        return plot_responses(own, finding.title)
    kind: Any = {"signals": LayerStatsRow, "residuals": BlockSizes, "lesions": LesionRow}[
        finding.name
    ]
    plot: Any = {
        "signals": inspection.plot_signals,
        "residuals": inspection.plot_sizes,
        "lesions": inspection.plot_lesions,
    }[finding.name]
    figure: Figure = plot(inspection.load_inspected(folders, finding.name, kind), finding.title)
    return figure


def _show(finding: Finding, console: Console) -> None:
    console.print(f"\n{finding.title}", style="bold", highlight=False)
    table = Table()
    for number, column in enumerate(finding.columns):
        # A long name is wrapped; numbers never are.
        if number == 0:
            table.add_column(column, overflow="fold", min_width=9)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in finding.rows:
        table.add_row(*row)
    console.print(table)
    console.print(finding.sentence, highlight=False, markup=False)


def _write(where: Path, after: dict[Path, int], findings: list[Finding]) -> None:
    """Write report.md: of each finding its sentence, figure and table.

    after: the runs, and the iteration after which each was looked into.
    """
    lines = ["# Inspection", ""]
    for finding in findings:
        lines += [f"## {finding.title}", "", finding.sentence, ""]
        lines += [f"![{finding.title}]({finding.name}.png)", ""]
        lines += [f"| {' | '.join(finding.columns)} |", f"|{' --- |' * len(finding.columns)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in finding.rows), ""]
    lines += ["## Runs", ""]
    for folder, iteration in after.items():
        path = Path(os.path.relpath(folder, where)).as_posix()
        lines.append(
            f"- [{folder.name}]({path}) after {iteration:,} iterations: its tables are in "
            f"`{FOLDER}/`"
        )
    with atomic_write(where / "report.md") as stream:
        stream.write("\n".join(lines) + "\n")
