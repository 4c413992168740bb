"""`resnet-inspect`: measures the named runs, then writes figures, tables and a report."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from resnet_degradation.config.identity import net_name, run_name, short_hash
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import INSPECTIONS, InspectionConfig
from resnet_degradation.config.validate import check_measuring_runtime
from resnet_degradation.inspection.findings import Finding, find
from resnet_degradation.records.inspection import (
    FOLDER,
    BlockSizes,
    LayerStatsRow,
    LesionRow,
)
from resnet_degradation.records.layers import Response
from resnet_degradation.records.run_folder import find_runs, read_config, without_copies
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resnet_degradation.console.progress import Progress


def inspect(options: InspectionConfig, console: Console, progress: "Progress") -> Path:
    """Measure the named runs, draw, print and write the findings; return the report's folder.

    Raises UserError for whatever the user can fix.
    """
    folders = named_runs(options)
    iterations = _measure(folders, options, progress)
    results = results_folder(folders, options.output_dir)
    results.mkdir(parents=True, exist_ok=True)
    from resnet_degradation.figures.style import save_figure

    findings = []
    for what in dict.fromkeys(options.what):
        if (finding := find(what, folders)) is None:
            progress.say(f"{what}: nothing to show (plain nets have no shortcuts)")
            continue
        findings.append(finding)
        save_figure(_figure(finding, folders), results / what)
        _show(finding, console)
    _write_report(results, iterations, findings)
    progress.say(f"report and figures: {results}/")
    return results


def _measure(
    folders: list[Path], options: InspectionConfig, progress: "Progress"
) -> dict[Path, int]:
    """Measure every run; return the iteration of each run's checkpoint."""
    from resnet_degradation.inspection.measure import measure
    from resnet_degradation.training.build import choose_device
    from resnet_degradation.training.load_run import config_of_run, load_trained
    from resnet_degradation.training.memory import restore_settings, set_precision

    iterations: dict[Path, int] = {}
    with restore_settings():
        set_precision("fp32")
        device = choose_device(config_of_run(folders[0], options.runtime))
        if len(folders) > 1:
            progress.say(f"{len(folders)} runs")
        for number, folder in enumerate(folders, 1):
            trained = load_trained(
                folder, options.runtime, device, options.images, progress.prepare
            )
            iterations[folder] = trained.iteration
            count = f" [{number}/{len(folders)}]" if len(folders) > 1 else ""
            name = run_name(trained.config)
            progress.say(f"{name} after {trained.iteration:,} iterations{count}")
            measure(trained, options, progress.prepare)
            progress.end()
    return iterations


def named_runs(options: InspectionConfig) -> list[Path]:
    """The folders of the runs to inspect; raises ConfigError for invalid options."""
    if not options.run or not isinstance(options.run, str | list):
        raise ConfigError("name what to inspect: run=FOLDER of a run or a study, or a list of them")
    for what in options.what:
        if what not in INSPECTIONS:
            raise ConfigError(f"what={what} is not valid: choose of {', '.join(INSPECTIONS)}")
    if min(options.images, options.draws, options.max_blocks) < 1 or not options.what:
        raise ConfigError("what needs an entry, and images, draws and max_blocks at least 1")
    check_measuring_runtime("resnet-inspect", options.runtime)
    names = [options.run] if isinstance(options.run, str) else options.run
    folders = [folder for name in names for folder in find_runs(Path(expand_home(str(name))))]
    return without_copies(list(dict.fromkeys(folder.resolve() for folder in folders)))


def results_folder(folders: list[Path], output_dir: str) -> Path:
    """The folder of the report: in the run folder if there is only one run."""
    if len(folders) == 1:
        return folders[0] / FOLDER
    nets = list(dict.fromkeys(net_name(read_config(folder)) for folder in folders))
    name = "+".join(nets[:4]) + (f"+{len(nets) - 4}-more" if len(nets) > 4 else "")
    return Path(output_dir) / "inspections" / f"{name}-{short_hash(' '.join(map(str, folders)))}"


def _figure(finding: Finding, folders: list[Path]) -> "Figure":
    from resnet_degradation.figures import inspection
    from resnet_degradation.figures.responses import plot_responses

    plots: dict[str, tuple[Any, Any]] = {
        "responses": (Response, plot_responses),
        "signals": (LayerStatsRow, inspection.plot_signals),
        "residuals": (BlockSizes, inspection.plot_sizes),
        "lesions": (LesionRow, inspection.plot_lesions),
    }
    kind, plot = plots[finding.name]
    figure: Figure = plot(inspection.load_inspected(folders, finding.name, kind), finding.title)
    return figure


def _show(finding: Finding, console: Console) -> None:
    console.print(f"\n{finding.title}", style="bold", highlight=False)
    name, *numbers = finding.columns
    table = Table()
    table.add_column(name, overflow="fold", min_width=9)  # a long name is wrapped, numbers are not
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for row in finding.rows:
        table.add_row(*row)
    console.print(table)
    console.print(finding.sentence, highlight=False, markup=False)


def _write_report(results: Path, iterations: dict[Path, int], findings: list[Finding]) -> None:
    """Write report.md: the sentence, figure and table of each finding, and the runs."""
    lines = ["# Inspection", ""]
    for finding in findings:
        lines += [f"## {finding.title}", "", finding.sentence, ""]
        lines += [f"![{finding.title}]({finding.name}.png)", ""]
        rows = [finding.columns, ["---"] * len(finding.columns), *finding.rows]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    lines += ["## Runs", ""]
    for folder, iteration in iterations.items():
        path = Path(os.path.relpath(folder, results)).as_posix()
        lines.append(
            f"- [{folder.name}]({path}) after {iteration:,} iterations: its tables are in "
            f"`{FOLDER}/`"
        )
    with atomic_write(results / "report.md") as stream:
        stream.write("\n".join(lines) + "\n")
