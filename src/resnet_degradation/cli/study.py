"""`resnet-study`: every run of a figure, then the figure, the report and the verdict."""

import sys
from typing import NoReturn

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from resnet_degradation.cli.app import is_sweeping, run_command, runs_in_this_process
from resnet_degradation.config.schema import StudyRunConfig
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import one_of_several, process_info


def study() -> NoReturn:
    """The entry point of `resnet-study`."""
    run_command(_study, "study_config", StudyRunConfig)


def _study(composed: DictConfig) -> None:
    # Imported here, so that --help does not load torch.
    from resnet_degradation.studies.definition import resolve_study

    if composed.part is not None and is_sweeping():
        study = resolve_study(composed)
    else:
        chosen = HydraConfig.get().runtime.choices["study"]
        study = resolve_study(composed, compose("study_config", [f"study={chosen}"]))

    from resnet_degradation.console.progress import RunProgress
    from resnet_degradation.console.terminal import Terminal

    if composed.part is None and process_info() is not None:
        raise ConfigError(
            "resnet-study starts the processes of its runs itself: give runtime.devices instead of "
            f"torchrun or srun, or unset what they set ({one_of_several()})"
        )
    console = Terminal()
    if composed.plan:
        from resnet_degradation.studies.plan import print_plan

        print_plan(study, console, composed.jobs)
    elif composed.part is not None:
        from resnet_degradation.training.launch import train_on_devices

        train_on_devices(study.runs[composed.part - 1], RunProgress(console))
    else:
        from resnet_degradation.studies.command import run_study

        launched = not runs_in_this_process() and not is_sweeping()
        run_study(study, console, composed.jobs, list(sys.argv[1:]), launched)
