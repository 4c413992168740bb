"""A study from its first run to its report."""

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
    launched: bool = False,
) -> dict[str, Any]:
    """Train the unfinished runs, then draw the figures and write and print the report.

    Returns the content of the report: texts, tables and figures.

    jobs: how many runs train at once. arguments: the command line's, which the report repeats.
    launched: whether the Hydra launcher that the arguments choose starts the runs.

    A failed run does not stop the others; UserError is raised at the end.
    """
    arguments = arguments or []
    pending = study.pending()
    if len(pending) < len(study.runs):
        console.print(f"{len(study.runs) - len(pending)} of {len(study.runs)} runs are finished")
    failed = _train(study, pending, console, jobs, arguments if launched else None)
    finished = [run for run in study.runs if is_finished(run_folder(run))]
    content: dict[str, Any] = {}
    if finished:
        complete = dataclasses.replace(study, runs=finished)
        missing = [f"{run}: {reason}" for run, reason in failed.items()]
        content = write_report(complete, arguments, missing)
        print_report(complete, content, console)
    if failed:
        raise UserError(describe_failures(failed, len(study.runs)))
    return content


def describe_failures(failed: dict[str, str], num_runs: int) -> str:
    """The runs that failed, grouped by reason. failed: the reasons by the names of the runs."""
    alike: dict[str, list[str]] = {}
    for run, reason in failed.items():
        alike.setdefault(reason, []).append(run)
    reasons = "; ".join(f"{', '.join(runs)}: {reason}" for reason, runs in alike.items())
    return f"{len(failed)} of {num_runs} runs failed and are not in the report. {reasons}"


def check_alone() -> None:
    """Raise ConfigError if this process is one of several, each of which would run the study."""
    if read_process_info() is not None:
        raise ConfigError(
            "resnet-study starts the processes of its runs itself: set runtime.devices instead of "
            f"torchrun or srun, or unset their variables ({describe_process_variables()})"
        )


def _train(
    study: Study, runs: list[Config], console: Console, jobs: int, launcher: list[str] | None
) -> dict[str, str]:
    """Train the runs; return the names of those that failed, with the reasons.

    launcher: the arguments that choose a Hydra launcher, if there is one.
    """
    if not runs:
        return {}
    # Imported here, because they load slowly and are not needed to draw finished runs.
    from resnet_degradation.data.sources.folder import find_split_folders
    from resnet_degradation.studies.cost import run_cost
    from resnet_degradation.studies.progress import StudyProgress
    from resnet_degradation.training.session import create_output_dir

    if runs[0].data.name in USER_DATA_NAMES:
        find_split_folders(Path(str(runs[0].data.root)))  # warns once, not in every run
    create_output_dir(runs[0].output_dir)
    costs = {study.name_of(run): run_cost(run) for run in runs}
    progress = StudyProgress(console, costs, len(study.runs) - len(runs), study.name_of)
    with progress.bar:
        # Runs that extend another start when all others have ended.
        for extending in (False, True):
            wave = [run for run in runs if (run.extends is not None) == extending]
            if not wave:
                continue
            if launcher is not None:
                execute.run_by_launcher(study, wave, launcher, progress)
            elif jobs == runs[0].runtime.devices == 1:
                execute.run_sequentially(wave, progress)
            else:
                num_threads = execute.with_share_of_threads(wave[0], jobs).runtime.num_threads
                note = describe_cpu_contention(num_threads)
                if note:  # the runs' own processes do not show it
                    progress.say(note)
                execute.run_concurrently(wave, jobs, progress)
    return {name: progress.failures[name] for name in costs if name in progress.failures}
