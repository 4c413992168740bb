"""Runs a study: trains its runs and writes its report."""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import USER_DATA_NAMES, Config
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies import execute
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.report import print_report, write_report
from resnet_degradation.system.errors import ConfigError, UserError
from resnet_degradation.system.process import (
    describe_cpu_contention,
    describe_process_variables,
    read_process_info,
)


def run_study(
    study: Study,
    console: Console,
    jobs: int = 1,
    arguments: list[str] | None = None,
    use_launcher: bool = False,
) -> dict[str, Any]:
    """Train the unfinished runs, draw the figures, and write and print the report.

    Returns the content of the report. A failed run does not stop the others; UserError is raised
    after the report is written.

    jobs: number of runs that train in parallel.
    arguments: the arguments of the command, which the report repeats.
    use_launcher: whether to start the runs with the Hydra launcher that the arguments choose.
    """
    arguments = arguments or []
    pending = study.unfinished_runs()
    if len(pending) < len(study.runs):
        console.print(f"{len(study.runs) - len(pending)} of {len(study.runs)} runs are finished")
    failures = _train(study, pending, console, jobs, arguments if use_launcher else None)
    finished = [run for run in study.runs if is_finished(run_folder(run))]
    content: dict[str, Any] = {}
    if finished:
        complete = dataclasses.replace(study, runs=finished)
        missing = [f"{run}: {reason}" for run, reason in failures.items()]
        content = write_report(complete, arguments, missing)
        print_report(complete, content, console)
    if failures:
        raise UserError(describe_failures(failures, len(study.runs)))
    return content


def describe_failures(failures: dict[str, str], num_runs: int) -> str:
    """Describe the failed runs, grouped by reason; `failures` maps run names to reasons."""
    runs_by_reason: dict[str, list[str]] = {}
    for run, reason in failures.items():
        runs_by_reason.setdefault(reason, []).append(run)
    reasons = "; ".join(f"{', '.join(runs)}: {reason}" for reason, runs in runs_by_reason.items())
    return f"{len(failures)} of {num_runs} runs failed and are not in the report. {reasons}"


def check_single_process() -> None:
    """Raise ConfigError if torchrun or srun started several processes with this command."""
    if read_process_info() is not None:
        raise ConfigError(
            "resnet-study starts the processes of its runs itself: use runtime.devices instead of "
            f"torchrun or srun, or unset their variables ({describe_process_variables()})"
        )


def _train(
    study: Study,
    runs: list[Config],
    console: Console,
    jobs: int,
    launcher_arguments: list[str] | None,
) -> dict[str, str]:
    """Train the runs; return the names of the failed runs, with the reasons.

    launcher_arguments: the arguments that choose a Hydra launcher; None for no launcher.
    """
    if not runs:
        return {}
    # Imported here, because these modules load slowly and finished runs do not need them.
    from resnet_degradation.data.sources.folder import find_split_folders
    from resnet_degradation.studies.cost import run_cost
    from resnet_degradation.studies.progress import StudyProgress
    from resnet_degradation.training.session import create_output_dir

    if runs[0].data.name in USER_DATA_NAMES:
        find_split_folders(Path(str(runs[0].data.root)))  # warn once, instead of in every run
    create_output_dir(runs[0].output_dir)
    costs = {study.unique_name(run): run_cost(run) for run in runs}
    progress = StudyProgress(console, costs, len(study.runs) - len(runs), study.unique_name)
    with progress.bar:
        # Runs that extend another run start after all others have ended.
        for extending in (False, True):
            group = [run for run in runs if (run.extends is not None) == extending]
            if not group:
                continue
            if launcher_arguments is not None:
                execute.run_by_launcher(study, group, launcher_arguments, progress)
            elif jobs == runs[0].runtime.devices == 1:
                execute.run_sequentially(group, progress)
            else:
                num_threads = execute.with_thread_share(group[0], jobs).runtime.num_threads
                if note := describe_cpu_contention(
                    num_threads
                ):  # the runs' own processes do not show it
                    progress.say(note)
                execute.run_concurrently(group, jobs, progress)
    return {name: progress.failures[name] for name in costs if name in progress.failures}
