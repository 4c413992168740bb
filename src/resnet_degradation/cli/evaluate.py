"""`resnet-eval`: the error of a trained net by a testing protocol of the paper."""

from typing import NoReturn

from omegaconf import DictConfig

from resnet_degradation.cli.app import job_overrides, run_command, shown_progress
from resnet_degradation.config.schema import EvaluationConfig


def evaluate() -> NoReturn:
    """The entry point of `resnet-eval`."""
    run_command(_evaluate, "eval_config", EvaluationConfig)


def _evaluate(composed: DictConfig) -> None:
    # Imported here, so that --help does not load torch.
    from resnet_degradation.evaluation.options import resolve_evaluation

    evaluation = resolve_evaluation(composed, job_overrides())
    from resnet_degradation.evaluation import command

    with shown_progress() as progress:
        command.evaluate(evaluation, progress.console, progress)
