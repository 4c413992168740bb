"""`resnet-inspect`: measures the given runs, then writes figures, tables and a report."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from resnet_degradation.config.custom_code import check_custom_name, is_custom
from resnet_degradation.config.identity import net_name, short_hash
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import (
    DEFAULT_MEASUREMENTS,
    OPTIONAL_MEASUREMENTS,
    InspectionConfig,
)
from resnet_degradation.config.validate import check_evaluation_runtime
from resnet_degradation.console.lines import print_path, print_table
from resnet_degradation.console.progress import Progress
from resnet_degradation.figures.inspection import load_measurements
from resnet_degradation.figures.style import save_figure
from resnet_degradation.inspection.probe import Finding, Nets, Probe
from resnet_degradation.inspection.report import write_report
from resnet_degradation.records.run_folder import drop_duplicate_runs, find_runs, read_config
from resnet_degradation.system.errors import ConfigError


def inspect(
    options: InspectionConfig, console: Console, progress: Progress
) -> tuple[Path, dict[str, Finding], dict[str, tuple[Probe, Nets]]]:
    """Measure the given runs; print the findings, and write figures and a report.

    Returns the report's folder and two dictionaries keyed by the name of the measurement: the
    findings, and the probes with the measured nets.

    Raises UserError for problems that the user can fix.
    """
    folders = find_runs_to_inspect(options)
    # Imported here, because these modules load torch, which the checks above do not need.
    from resnet_degradation.inspection.measure import measure_runs
    from resnet_degradation.inspection.registry import load_probes

    probes = load_probes(parse_measurements(options.what))
    iterations = measure_runs(folders, probes, options, progress)
    report_folder = choose_report_folder(folders, options.output_dir)
    report_folder.mkdir(parents=True, exist_ok=True)
    findings: dict[str, Finding] = {}
    measured: dict[str, tuple[Probe, Nets]] = {}
    for name, probe in probes.items():
        nets = load_measurements(folders, name, probe.row)
        if not nets:
            progress.say(f"{name}: nothing to show (it may need nets with shortcuts)")
            continue
        findings[name], measured[name] = probe.make_finding(nets, name), (probe, nets)
        save_figure(probe.make_figure(nets, findings[name].title), report_folder / name)
        _print_finding(findings[name], console)
    definitions = {name: probe.about for name, probe in probes.items()}
    write_report(report_folder, iterations, findings, definitions)
    print_path(console, "report: ", report_folder / "index.html", " (or report.md)")
    return report_folder, findings, measured


def find_runs_to_inspect(options: InspectionConfig) -> list[Path]:
    """Find the folders of the runs to inspect; raises ConfigError for invalid options."""
    if not options.run or not isinstance(options.run, str | list):
        raise ConfigError("set run to the folder of a run or a study, or to a list of folders")
    if min(options.images, options.draws, options.max_blocks, options.jobs) < 1:
        raise ConfigError("images, draws, max_blocks and jobs must be at least 1")
    if options.points < 3 or options.points % 2 == 0:
        raise ConfigError(
            f"points={options.points} is not valid: it must be at least 3, and odd, so that one "
            "of the points is the trained net"
        )
    check_evaluation_runtime("resnet-inspect", options.runtime)
    names = [options.run] if isinstance(options.run, str) else options.run
    folders = [folder for name in names for folder in find_runs(Path(expand_home(str(name))))]
    return drop_duplicate_runs(list(dict.fromkeys(folder.resolve() for folder in folders)))


def parse_measurements(what: object) -> list[str]:
    """Return the names in `what`, without duplicates; raises ConfigError for an invalid name."""
    built_in = [*DEFAULT_MEASUREMENTS, *OPTIONAL_MEASUREMENTS]
    names = what if isinstance(what, list) else [what]
    if "all" in names:
        names = [*built_in, *(name for name in names if name != "all")]
    for name in names:
        if isinstance(name, str) and is_custom(name):
            check_custom_name(name, "what")
        elif name not in built_in:
            raise ConfigError(
                f"what={name} is not valid: choose from {', '.join(built_in)}; or all; or a custom "
                "probe, such as my_probes:small_weights"
            )
    if not names:
        raise ConfigError(f"what=[] is not valid: choose from {', '.join(built_in)}")
    return list(dict.fromkeys(names))


def choose_report_folder(folders: list[Path], output_dir: str) -> Path:
    """Choose the folder of the report. For a single run, it lies in the run folder."""
    if len(folders) == 1:
        return folders[0] / "inspection"
    nets = list(dict.fromkeys(net_name(read_config(folder)) for folder in folders))
    name = "+".join(nets[:4]) + (f"+{len(nets) - 4}-more" if len(nets) > 4 else "")
    return Path(output_dir) / "inspections" / f"{name}-{short_hash(' '.join(map(str, folders)))}"


def _print_finding(finding: Finding, console: Console) -> None:
    console.print(f"\n{finding.title}", style="bold", highlight=False, markup=False)
    name, *numbers = finding.columns
    table = Table()
    table.add_column(name, overflow="fold", min_width=9)  # wraps long names; numbers never wrap
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for row in finding.rows:
        table.add_row(*row)
    print_table(console, table)
    console.print(finding.sentence, highlight=False, markup=False)
