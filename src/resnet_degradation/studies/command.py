"""A study from its first run to its report."""

import dataclasses
import os
from pathlib import Path

from rich.console import Console

from resnet_degradation.config.arguments import quoted
from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import USER_DATA, Config
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies import execute
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.report import print_report, write_report
from resnet_degradation.system.errors import UserError
from resnet_degradation.system.process import cpu_contention, num_cpus


def run_study(
    study: Study,
    console: Console,
    jobs: int = 1,
    arguments: list[str] | None = None,
    launched: bool = False,
) -> None:
    """Train the unfinished runs, then draw the figures and write and print the report.

    jobs: how many runs train at once. arguments: those of the command line, for the report and, if
    `launched`, for the Hydra launcher that they choose, which then starts the runs.

    A failed run does not stop the others; UserError is raised at the end.
    """
    arguments = arguments or []
    execute.check_jobs(study.runs[0], jobs)
    pending = study.pending()
    if len(pending) < len(study.runs):
        console.print(f"{len(study.runs) - len(pending)} of {len(study.runs)} runs are finished")
    failed = _execute(study, pending, console, jobs, arguments, launched) if pending else []
    finished = [run for run in study.runs if is_finished(run_folder(run))]
    if finished:
        complete = dataclasses.replace(study, runs=finished)
        print_report(write_report(complete, arguments, missing=failed), console)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(study.runs)} runs failed and are not in the report. "
            + "; ".join(failed)
        )


def _execute(
    study: Study,
    pending: list[Config],
    console: Console,
    jobs: int,
    arguments: list[str],
    launched: bool,
) -> list[str]:
    """Train the runs; return the names of those that failed, and why."""
    import torch  # only if a run is left

    from resnet_degradation.data.sources.folder import split_folders
    from resnet_degradation.studies.plan import run_cost
    from resnet_degradation.studies.progress import StudyProgress
    from resnet_degradation.training.session import require_folder

    if pending[0].data.name in USER_DATA:
        split_folders(Path(str(pending[0].data.root)))  # warns once, not in every run
    require_folder(pending[0].output_dir)
    costs = {study.name_of(run): run_cost(run) for run in pending}
    failed = []
    view = StudyProgress(console, costs, len(study.runs) - len(pending), study.name_of)
    with view.bar:
        runtime = pending[0].runtime
        on_cpu = runtime.device == "cpu" or not torch.cuda.is_available()
        in_turn = not launched and jobs == runtime.devices == 1
        if on_cpu and in_turn and (note := cpu_contention(runtime.num_threads or num_cpus())):
            view.say(note)
        for wave in execute.waves(pending):
            if launched:
                parts = [study.runs.index(run) + 1 for run in wave]
                log = study.folder / "launcher.log"
                fixed = [*arguments, *_paths(wave[0])]
                failures = execute.run_by_launcher(wave, parts, fixed, log, view)
            elif jobs > 1 or wave[0].runtime.devices != 1:
                failures = execute.run_at_once(wave, jobs, view)
            else:
                failures = execute.run_in_turn(wave, view)
            failed += [f"{study.name_of(wave[i])}: {why}" for i, why in sorted(failures.items())]
    return failed


def _paths(run: Config) -> list[str]:
    """Arguments with absolute paths, because jobs may start in another folder."""
    paths = {"output_dir": os.path.abspath(run.output_dir), "data.root": run.data.root}  # noqa: PTH100
    if run.runtime.lock not in ("on", "off"):
        paths["runtime.lock"] = os.path.abspath(run.runtime.lock)  # noqa: PTH100
    return [f"{key}={quoted(path)}" for key, path in paths.items() if path is not None]
