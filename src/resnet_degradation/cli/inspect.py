"""`resnet-inspect`: what lies behind the errors of trained nets."""

from typing import NoReturn, cast

from omegaconf import DictConfig, OmegaConf

from resnet_degradation.cli.app import run_command, shown_progress
from resnet_degradation.config.schema import InspectionConfig


def inspect() -> NoReturn:
    """The entry point of `resnet-inspect`."""
    run_command(_inspect, "inspect_config", InspectionConfig)


def _inspect(composed: DictConfig) -> None:
    options = cast(InspectionConfig, OmegaConf.to_object(composed))

    # Imported here, so that --help does not load torch.
    from resnet_degradation.inspection import command

    with shown_progress() as progress:
        command.inspect(options, progress.console, progress)
