"""Runs a study, from its first run to its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose

from resnet_degradation.api.calls import build_overrides, compose_command, translate_errors
from resnet_degradation.api.run import Run
from resnet_degradation.api.table import Table, read_table
from resnet_degradation.cli.app import show_progress
from resnet_degradation.cli.compose import isolated_hydra
from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import StudyRunConfig
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class StudyResult:
    """Results of a study. Its folder also contains the report."""

    folder: Path
    runs: list[Run]
    verdicts: list[str]  # sentences: verdicts, and cautions about them
    figures: dict[str, Path]  # PNG files, keyed by the name of the figure

    def __repr__(self) -> str:
        return "\n".join([f"<{len(self.runs)} runs, report in {self.folder}>", *self.verdicts])

    @property
    def results(self) -> Table:
        """The columns of results.csv, with one entry per run."""
        return read_table(self.folder / "results.csv")


@translate_errors(StudyRunConfig, resumes=True)
def study(
    name: str = "quick",
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> StudyResult:
    """Train the nets of a study, draw its figures and write its report, like `resnet-study`.

        rd.study("quick", seeds=[0, 1], recipe=dict(iterations=600))

    Finished runs are only read; interrupted runs are resumed. The other arguments and the
    exceptions are the same as for `rd.train`. `resnet-study --help` lists the settings. jobs=2
    starts processes, so a script must make this call below `if __name__ == "__main__":`.
    """
    from resnet_degradation.studies.command import check_single_process, run_study
    from resnet_degradation.studies.definition import resolve_study

    base_arguments = build_overrides((), {"study": name}, StudyRunConfig)
    arguments = [*base_arguments, *build_overrides(overrides, settings, StudyRunConfig)]
    with isolated_hydra():
        composed = compose_command("study_config", StudyRunConfig, arguments)
        if composed.plan or composed.part is not None:
            raise ConfigError("plan and part are settings of the command resnet-study only")
        resolved = resolve_study(composed, compose("study_config", base_arguments))
    check_single_process()
    with show_progress(quiet) as progress:
        report = run_study(resolved, progress.console, composed.jobs, arguments)
    return StudyResult(
        folder=resolved.folder,
        runs=[Run(run_folder(run)) for run in resolved.runs],
        verdicts=report["verdicts"],
        figures={
            figure["name"]: resolved.folder / f"{figure['name']}.png"
            for figure in report["figures"]
        },
    )
