"""Settings under the names of other tools raise an error that suggests valid arguments."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.cli.guesses import KEY_BY_SYNONYM, refuse_guesses
from resnet_degradation.config.schema import (
    Config,
    EvaluationConfig,
    InspectionConfig,
    StudyRunConfig,
    schema_fields,
)
from resnet_degradation.system.errors import ConfigError

TRAIN = [
    ("epochs=10", "recipe.iterations=10ep"),
    ("recipe.epochs=10", "recipe.iterations=10ep"),
    ("+epochs=10", "recipe.iterations=10ep"),
    ("--epochs=10", "recipe.iterations=10ep"),
    ("--max-epochs 10", "recipe.iterations=10ep"),
    ("lr=0.1", "recipe.lr=0.1"),
    ("--lr 0.1", "recipe.lr=0.1"),
    ("learning_rate=0.1", "recipe.lr=0.1"),
    ("batch_size=64", "recipe.batch_size=64"),
    ("bs=64", "recipe.batch_size=64"),
    ("wd=1e-4", "recipe.weight_decay=1e-4"),
    ("steps=100", "recipe.iterations=100"),
    ("model=resnet20", "depth=20 residual=true"),
    ("model=resnet50", "depth=50 residual=true"),
    ("arch=plain-56", "depth=56 residual=false"),
    ("depth=resnet20", "depth=20 residual=true"),
    ("--depth 56", "depth=56"),
    ("56", "depth=56"),
    ("resnet20", "depth=20 residual=true"),
    ("layers=56", "depth=56"),
    ("skip=false", "residual=false"),
    ("dataset=CIFAR10", "data=cifar10"),
    ("dataset=cifar-10", "data=cifar10"),
    ("data=/my/images", "data=folder data.root=/my/images"),
    ("gpus=2", "runtime.devices=2"),
    ("num_gpus=all", "runtime.devices=auto"),
    ("device=cpu", "runtime.device=cpu"),
    ("threads=2", "runtime.num_threads=2"),
    ("workers=4", "runtime.num_workers=4"),
    ("amp=true", "runtime.precision=bf16"),
    ("dtype=bfloat16", "runtime.precision=bf16"),
    ("out=runs", "output_dir=runs"),
    ("OUT_DIR=runs", "output_dir=runs"),
    ("OPTIM.BASE_LR=0.1", "recipe.lr=0.1"),
    ("OPTIM.MAX_EPOCH 10", "recipe.iterations=10ep"),
    ("SOLVER.MAX_ITER=100", "recipe.iterations=100"),
    ("MODEL.DEPTH=50", "depth=50"),
    ("trainer.devices=2", "runtime.devices=2"),
    ("trainer.accelerator=gpu", "runtime.device=cuda"),
    ("-b 64", "recipe.batch_size=64"),
    ("no-residual", "residual=false"),
    ("plain=true", "residual=false"),
    ("plain=false", "residual=true"),
    ("no_residual=false", "residual=true"),
    ("--no-shortcuts", "residual=false"),
    ("recipe.weight-decay=0", "recipe.weight_decay=0"),
    ("--no-residual", "residual=false"),
    ("depth 56", "depth=56"),
    ("cifar10", "data=cifar10"),
    ("/my/images", "data=folder data.root=/my/images"),
]


def answer(schema: type[Any], arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_guesses(arguments.split(), schema)
    return str(caught.value)


@pytest.mark.parametrize(("guess", "setting"), TRAIN)
def test_a_guess_is_answered_with_settings_that_work(guess: str, setting: str) -> None:
    text = answer(Config, guess)
    assert text.endswith(f": type {setting}")
    compose_config(*shlex.split(setting), "output_dir=/nowhere")


@pytest.mark.parametrize(
    ("schema", "guess", "said"),
    [
        (Config, "help", "'help' is not a setting: type --help"),
        (Config, "residual", "'residual' is not a setting: type residual=VALUE"),
        (Config, "seeds=[0,1]", "there is no key seeds: type -m seed=0,1"),
        (Config, "optimizer=adam", "every run uses the paper's SGD"),
        (Config, "plan=true", "there is no key plan: resnet-study has plan, jobs and part"),
        (Config, "resume=true", "a run resumes if you repeat its command"),
        (Config, "fit", "'fit' is not a setting: type --help"),
        (Config, "dry-run", "recipe.iterations=10 trains briefly"),
        (Config, "--gpu 0", "the environment variable CUDA_VISIBLE_DEVICES selects GPUs"),
        (Config, "net.pth", "type weights=net.pth with the net's depth"),
        (Config, "label_smoothing=0.1", "the paper's recipe has no such setting"),
        (Config, "num_classes=100", "the data set decides the number of classes"),
        (StudyRunConfig, "--list", "type study=NAME with one of bottleneck, constructed, depths"),
        (StudyRunConfig, "fig99", "'fig99' is not a setting: type study=NAME with one of"),
        (StudyRunConfig, "figure6", "type study=fig6"),
        (StudyRunConfig, "table-6", "type study=fig6"),
        (StudyRunConfig, "fig2", "'fig2' is not a setting: study=quick trains the block"),
        (StudyRunConfig, "fig6", "'fig6' is not a setting: type study=fig6"),
        (StudyRunConfig, "seeds=3", "there is no seeds=3: type 'seeds=[0,1,2]'"),
        (StudyRunConfig, "seed=1", "there is no key seed: type 'seeds=[1]'"),
        (StudyRunConfig, "seed=[0,1]", "type 'seeds=[0,1]'"),
        (EvaluationConfig, "fig-6/run", "type run=fig-6/run"),
        (EvaluationConfig, "gpu=0", "the environment variable CUDA_VISIBLE_DEVICES selects GPUs"),
        (StudyRunConfig, "study=fig5", "study=bottleneck compares the two blocks"),
        (StudyRunConfig, "study=table6", "type study=fig6"),
        (StudyRunConfig, "model=resnet20", "type 'study.nets=[{depth: 20, residual: true}]'"),
        (EvaluationConfig, "checkpoint=net.pt", "type weights=net.pt"),
        (EvaluationConfig, "outputs/run", "'outputs/run' is not a setting: type run=outputs/run"),
        (InspectionConfig, "net.pth", "resnet-eval tests such a file: weights=net.pth"),
        (InspectionConfig, "outputs/run", "type run=outputs/run"),
    ],
)
def test_other_guesses_are_answered_in_words(schema: type[Any], guess: str, said: str) -> None:
    assert said in answer(schema, guess)


@pytest.mark.parametrize(
    "arguments",
    [
        ["depth=56", "residual=false", "recipe.lr=0.1", "data=cifar10"],
        ["-m", "depth=20,56", "seed=0,1"],
        ["--config-dir", "conf", "--cfg", "job"],
        ["--an-option-of-another-tool", "5"],
        ["~recipe.lr"],
        ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=1"],
        ["data=folder", "data.root=/my/images"],
    ],
)
def test_valid_settings_pass(arguments: list[str]) -> None:
    refuse_guesses(arguments, Config)


def test_no_synonym_hides_a_key() -> None:
    schemas = (Config, StudyRunConfig, EvaluationConfig, InspectionConfig)
    keys = {key for schema in schemas for key in schema_fields(schema)}
    assert set(KEY_BY_SYNONYM.values()) <= keys
    assert not set(KEY_BY_SYNONYM) & keys


def test_an_existing_folder_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    assert answer(InspectionConfig, "mine") == "'mine' is not a setting: type run=mine"
