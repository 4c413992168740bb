"""Evaluations of tiny runs."""

from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.evaluation.options import Evaluation, resolve_evaluation


def evaluation_of(*overrides: str) -> Evaluation:
    from hydra import compose, initialize_config_dir

    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return resolve_evaluation(compose("eval_config", overrides=list(overrides)), overrides)
