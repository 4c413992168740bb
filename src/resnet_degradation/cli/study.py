"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

import sys
from typing import NoReturn

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from resnet_degradation.cli.app import _is_basic, _is_sweeping, _main
from resnet_degradation.config.schema import StudyRunConfig
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import one_of_several, process_info


def study() -> NoReturn:
    """`resnet-study`: every run of a figure, then the figure, the report and the verdict."""

    def run(composed: DictConfig) -> None:
        from resnet_degradation.studies.definition import resolve_study

        hydra_config = HydraConfig.get()
        if composed.part is None or not _is_sweeping():
            chosen = hydra_config.runtime.choices["study"]
            study = resolve_study(composed, compose("study_config", [f"study={chosen}"]))
        else:
            study = resolve_study(composed)
        from resnet_degradation.console.progress import Terminal

        if composed.part is None and process_info() is not None:
            raise ConfigError(
                "resnet-study starts the processes of its runs itself: give runtime.devices "
                f"instead of torchrun or srun, or unset what they set ({one_of_several()})"
            )
        console = Terminal()
        if composed.plan:
            from resnet_degradation.studies.plan import print_plan

            print_plan(study, console, composed.jobs)
        elif composed.part is not None:
            from resnet_degradation.console.progress import RunProgress
            from resnet_degradation.training.launch import train_on_devices

            train_on_devices(study.runs[composed.part - 1], RunProgress(console))
        else:
            from resnet_degradation.studies.command import run_study

            arguments = list(sys.argv[1:])
            launched = not _is_basic(hydra_config.launcher) and not _is_sweeping()
            run_study(study, console, composed.jobs, arguments, launched)

    _main(run, "study_config", StudyRunConfig)
