"""`resnet-inspect`: measures the named runs, then writes figures, tables and a report."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from resnet_degradation.config.custom_code import check_custom_name, is_custom
from resnet_degradation.config.identity import net_name, short_hash
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import INSPECTIONS, MORE_INSPECTIONS, InspectionConfig
from resnet_degradation.config.validate import check_evaluation_runtime
from resnet_degradation.console.lines import print_path, print_table
from resnet_degradation.console.progress import Progress
from resnet_degradation.figures.inspection import load_inspected
from resnet_degradation.figures.style import save_figure
from resnet_degradation.inspection.probe import Finding, Nets, Probe
from resnet_degradation.inspection.report import write_report
from resnet_degradation.records.run_folder import drop_duplicate_runs, find_runs, read_config
from resnet_degradation.system.errors import ConfigError


def inspect(
    options: InspectionConfig, console: Console, progress: Progress
) -> tuple[Path, dict[str, Finding], dict[str, tuple[Probe, Nets]]]:
    """Measure the named runs, draw, print and write the findings.

    Returns the report's folder and, by the measurement's name, the findings and what was measured.

    Raises UserError for whatever the user can fix.
    """
    folders = runs_to_inspect(options)
    # Imported here, because they load torch, and the checks above do not need it.
    from resnet_degradation.inspection.measure import measure_runs
    from resnet_degradation.inspection.registry import chosen_probes

    probes = chosen_probes(named_measurements(options.what))
    iterations = measure_runs(folders, probes, options, progress)
    results = results_folder(folders, options.output_dir)
    results.mkdir(parents=True, exist_ok=True)
    found: dict[str, Finding] = {}
    measured: dict[str, tuple[Probe, Nets]] = {}
    for name, probe in probes.items():
        nets = load_inspected(folders, name, probe.row)
        if not nets:
            progress.say(f"{name}: nothing to show (plain nets have no shortcuts)")
            continue
        found[name], measured[name] = probe.finding(nets, name), (probe, nets)
        save_figure(probe.figure(nets, found[name].title), results / name)
        _show(found[name], console)
    about = {name: probe.about for name, probe in probes.items()}
    write_report(results, iterations, found, about)
    print_path(console, "report: ", results / "index.html", " (or report.md)")
    return results, found, measured


def runs_to_inspect(options: InspectionConfig) -> list[Path]:
    """The folders of the runs to inspect; raises ConfigError for invalid options."""
    if not options.run or not isinstance(options.run, str | list):
        raise ConfigError("name what to inspect: run=FOLDER of a run or a study, or a list of them")
    if min(options.images, options.draws, options.max_blocks, options.jobs) < 1:
        raise ConfigError("images, draws, max_blocks and jobs must be at least 1")
    if options.points < 3 or options.points % 2 == 0:
        raise ConfigError(
            f"points={options.points} is not valid: it must be odd and at least 3, so that the net "
            "is one of the points"
        )
    check_evaluation_runtime("resnet-inspect", options.runtime)
    names = [options.run] if isinstance(options.run, str) else options.run
    folders = [folder for name in names for folder in find_runs(Path(expand_home(str(name))))]
    return drop_duplicate_runs(list(dict.fromkeys(folder.resolve() for folder in folders)))


def named_measurements(what: object) -> list[str]:
    """The measurements that `what` names, each once; ConfigError for other values."""
    every = [*INSPECTIONS, *MORE_INSPECTIONS]
    names = what if isinstance(what, list) else [what]
    if "all" in names:
        names = [*every, *(name for name in names if name != "all")]
    for name in names:
        if isinstance(name, str) and is_custom(name):
            check_custom_name(name, "what")
        elif name not in every:
            raise ConfigError(
                f"what={name} is not valid: choose from {', '.join(every)}; or all; or a custom "
                "probe, such as my_probes:small_weights"
            )
    if not names:
        raise ConfigError(f"what=[] is not valid: choose from {', '.join(every)}")
    return list(dict.fromkeys(names))


def results_folder(folders: list[Path], output_dir: str) -> Path:
    """The folder of the report: in the run folder if there is only one run."""
    if len(folders) == 1:
        return folders[0] / "inspection"
    nets = list(dict.fromkeys(net_name(read_config(folder)) for folder in folders))
    name = "+".join(nets[:4]) + (f"+{len(nets) - 4}-more" if len(nets) > 4 else "")
    return Path(output_dir) / "inspections" / f"{name}-{short_hash(' '.join(map(str, folders)))}"


def _show(finding: Finding, console: Console) -> None:
    console.print(f"\n{finding.title}", style="bold", highlight=False, markup=False)
    name, *numbers = finding.columns
    table = Table()
    table.add_column(name, overflow="fold", min_width=9)  # a long name is folded, numbers are not
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    for row in finding.rows:
        table.add_row(*row)
    print_table(console, table)
    console.print(finding.sentence, highlight=False, markup=False)
