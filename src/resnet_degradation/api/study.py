"""Many runs: a study, from its first run to its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose

from resnet_degradation.api.calls import as_command, composed, overrides_of
from resnet_degradation.api.run import Run
from resnet_degradation.api.table import Table, read_table
from resnet_degradation.cli.app import shown_progress
from resnet_degradation.cli.compose import own_hydra
from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import StudyRunConfig
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class StudyResult:
    """The results of a study. Its folder holds the report, too."""

    folder: Path
    runs: list[Run]
    verdicts: list[str]  # verdicts and cautions, a sentence each
    figures: dict[str, Path]  # PNG files, by the name of the figure

    def __repr__(self) -> str:
        return "\n".join([f"<{len(self.runs)} runs, report in {self.folder}>", *self.verdicts])

    @property
    def results(self) -> Table:
        """The columns of results.csv, one entry per run."""
        return read_table(self.folder / "results.csv")


@as_command(StudyRunConfig)
def study(
    name: str = "quick",
    overrides: str | Sequence[str] = (),
    *,
    quiet: bool = False,
    **settings: Any,
) -> StudyResult:
    """Train the nets of a study, draw its figures and write its report, as `resnet-study` does.

        rd.study("quick", seeds=[0, 1], recipe=dict(iterations=600))

    Finished runs are only read, interrupted ones resumed. The other arguments and the errors are
    those of `rd.train`; `resnet-study --help` lists the settings. jobs=2 starts processes: a script
    must then call this below `if __name__ == "__main__":`.
    """
    from resnet_degradation.studies.command import check_single_process, run_study
    from resnet_degradation.studies.definition import resolve_study

    original = overrides_of((), {"study": name}, StudyRunConfig)
    arguments = [*original, *overrides_of(overrides, settings, StudyRunConfig)]
    with own_hydra():
        options = composed("study_config", StudyRunConfig, arguments)
        if options.plan or options.part is not None:
            raise ConfigError("plan and part are settings of the command resnet-study alone")
        chosen = resolve_study(options, compose("study_config", original))
    check_single_process()
    with shown_progress(quiet) as progress:
        report = run_study(chosen, progress.console, options.jobs, arguments)
    return StudyResult(
        folder=chosen.folder,
        runs=[Run(run_folder(run)) for run in chosen.runs],
        verdicts=report["verdicts"],
        figures={
            figure["name"]: chosen.folder / f"{figure['name']}.png" for figure in report["figures"]
        },
    )
