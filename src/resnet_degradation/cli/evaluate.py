"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from omegaconf import DictConfig

from resnet_degradation.cli.app import _main, _overrides
from resnet_degradation.config.schema import EvaluationConfig

if TYPE_CHECKING:
    from resnet_degradation.console.progress import RunProgress


def evaluate() -> NoReturn:
    """`resnet-eval`: the error of a trained net by a testing protocol of the paper."""

    def run(composed: DictConfig) -> None:
        from resnet_degradation.evaluation.options import resolve_evaluation

        evaluation = resolve_evaluation(composed, _overrides())
        from resnet_degradation.evaluation.command import evaluate as carry_out

        with _progress() as progress:
            carry_out(evaluation, progress.console, progress)

    _main(run, "eval_config", EvaluationConfig)


@contextmanager
def _progress() -> Iterator["RunProgress"]:
    """A view on standard output, whose bars are taken away at the end."""
    from resnet_degradation.console.progress import RunProgress, Terminal

    progress = RunProgress(Terminal())
    try:
        yield progress
    finally:
        progress.end()
