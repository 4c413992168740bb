"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

from typing import NoReturn, cast

from omegaconf import DictConfig, OmegaConf

from resnet_degradation.cli.app import _main
from resnet_degradation.cli.evaluate import _progress
from resnet_degradation.config.schema import InspectionConfig


def inspect() -> NoReturn:
    """`resnet-inspect`: what lies behind the errors of trained nets."""

    def run(composed: DictConfig) -> None:
        asked = cast(InspectionConfig, OmegaConf.to_object(composed))
        from resnet_degradation.inspection.command import inspect as carry_out

        with _progress() as progress:
            carry_out(asked, progress.console, progress)

    _main(run, "inspect_config", InspectionConfig)
