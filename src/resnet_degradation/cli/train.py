"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

from typing import NoReturn

from omegaconf import DictConfig

from resnet_degradation.cli.app import _main
from resnet_degradation.cli.compose import resolve_composed
from resnet_degradation.config.schema import Config
from resnet_degradation.system.process import rank


def train() -> NoReturn:
    """`resnet-train`: one run, or with -m one for every combination."""

    def run(composed: DictConfig) -> None:
        config = resolve_composed(composed)
        from resnet_degradation.console.progress import RunProgress, Terminal
        from resnet_degradation.training.launch import train_on_devices

        progress = RunProgress(Terminal())
        folder = train_on_devices(config, progress)
        if rank() > 0:
            return
        progress.say(f"record: {folder}/metrics.csv")
        progress.say(f"curves: tensorboard --logdir {config.output_dir}")

    _main(run, "config", Config)
