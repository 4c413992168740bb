"""`resnet-train`: one run, or with -m one for every combination of settings."""

from typing import NoReturn

from omegaconf import DictConfig

from resnet_degradation.cli.app import run_command
from resnet_degradation.cli.compose import resolve_composed
from resnet_degradation.config.schema import Config
from resnet_degradation.system.process import rank


def train() -> NoReturn:
    """The entry point of `resnet-train`."""
    run_command(_train, "config", Config)


def _train(composed: DictConfig) -> None:
    config = resolve_composed(composed)

    # Imported here, so that --help does not load torch.
    from resnet_degradation.console.progress import RunProgress
    from resnet_degradation.console.terminal import Terminal
    from resnet_degradation.training.launch import train_on_devices

    progress = RunProgress(Terminal())
    folder = train_on_devices(config, progress)
    if rank() == 0:
        progress.say(f"record: {folder}/metrics.csv")
        progress.say(f"curves: tensorboard --logdir {config.output_dir}")
