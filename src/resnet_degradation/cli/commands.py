"""The commands that Hydra configures. They import torch only when they run: --help is fast."""

import shlex
import sys
from typing import NoReturn, cast

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from resnet_degradation.cli.app import (
    is_sweeping,
    job_overrides,
    run_command,
    runs_in_this_process,
    show_progress,
)
from resnet_degradation.cli.compose import resolve_composed
from resnet_degradation.config.schema import (
    Config,
    EvaluationConfig,
    InspectionConfig,
    StudyRunConfig,
)
from resnet_degradation.system.process import get_rank


def train() -> NoReturn:
    """`resnet-train`: one run, or with -m one for every combination of settings."""
    run_command(_train, "config", Config, resumes=True)


def study() -> NoReturn:
    """`resnet-study`: every run of a figure, then the figure, the report and the verdict."""
    run_command(_study, "study_config", StudyRunConfig, resumes=True)


def evaluate() -> NoReturn:
    """`resnet-eval`: test a trained net with a testing protocol of the paper."""
    run_command(_evaluate, "eval_config", EvaluationConfig)


def inspect() -> NoReturn:
    """`resnet-inspect`: measure trained nets to explain their errors."""
    run_command(_inspect, "inspect_config", InspectionConfig)


def _train(composed: DictConfig) -> None:
    config = resolve_composed(composed)
    from resnet_degradation.training.launch import train_on_devices

    with show_progress() as progress:
        folder = train_on_devices(config, progress)
        if get_rank() == 0:
            progress.say(f"record: {folder / 'metrics.csv'}")
            runs, logs = shlex.quote(str(folder.parent)), shlex.quote(config.output_dir)
            progress.say(f"curves: resnet-plot {runs}, or tensorboard --logdir {logs}")


def _study(composed: DictConfig) -> None:
    from resnet_degradation.studies.definition import resolve_study

    if composed.part is not None and is_sweeping():
        study = resolve_study(composed)
    else:
        study_name = HydraConfig.get().runtime.choices["study"]
        study = resolve_study(composed, compose("study_config", [f"study={study_name}"]))
    if composed.part is None:
        from resnet_degradation.studies.command import check_single_process

        check_single_process()
    with show_progress() as progress:
        if composed.plan:
            from resnet_degradation.studies.plan import print_plan

            print_plan(study, progress.console, composed.jobs)
        elif composed.part is not None:
            from resnet_degradation.training.launch import train_on_devices

            train_on_devices(study.runs[composed.part - 1], progress)
        else:
            from resnet_degradation.studies.command import run_study

            use_launcher = not runs_in_this_process() and not is_sweeping()
            run_study(study, progress.console, composed.jobs, list(sys.argv[1:]), use_launcher)


def _evaluate(composed: DictConfig) -> None:
    from resnet_degradation.evaluation.options import resolve_evaluation

    evaluation = resolve_evaluation(composed, job_overrides())
    from resnet_degradation.evaluation import command

    with show_progress() as progress:
        command.evaluate(evaluation, progress.console, progress)


def _inspect(composed: DictConfig) -> None:
    options = cast(InspectionConfig, OmegaConf.to_object(composed))
    from resnet_degradation.inspection import command

    with show_progress() as progress:
        command.inspect(options, progress.console, progress)
