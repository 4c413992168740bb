"""Recognizes settings that users know from other tools, and suggests what to type instead."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_degradation.cli.compose import config_folder
from resnet_degradation.config.schema import StudyRunConfig, schema_fields
from resnet_degradation.system.errors import ConfigError

# Names that other tools have for our settings.
SYNONYMS = {
    "depth": "layers num_layers n_layers",
    "residual": "skip skips skip_connection skip_connections shortcuts residuals",
    "seed": "random_seed manual_seed",
    "output_dir": "output out out_dir outdir save_dir log_dir logdir results_dir",
    "recipe.lr": "learning_rate learningrate base_lr",
    "recipe.batch_size": "batch batchsize bs b train_batch_size",
    "recipe.momentum": "beta",
    "recipe.weight_decay": "wd decay l2 weightdecay",
    "recipe.iterations": "iters steps max_iters max_steps num_steps num_iterations train_steps",
    "recipe.milestones": "lr_steps schedule lr_milestones",
    "recipe.gamma": "lr_decay lr_gamma",
    "data.root": "root data_dir datadir data_path dataset_path data_root",
    "data.image_size": "img_size imgsize size resolution input_size crop_size",
    "runtime.devices": "gpus num_gpus n_gpus ngpus gpu nproc nproc_per_node world_size",
    "runtime.num_workers": "workers n_workers j dataloader_workers",
    "runtime.num_threads": "threads n_threads cpu_threads",
    "runtime.precision": "dtype",
    "weights": "checkpoint checkpoint_path ckpt model_path load",
    "runtime.log_every": "log_interval print_freq log_freq",
    "runtime.eval_every": "eval_interval val_every test_every eval_freq",
    "runtime.checkpoint_every": "save_every ckpt_every save_interval checkpoint_interval save_freq",
}
KEY_BY_SYNONYM = {name: key for key, names in SYNONYMS.items() for name in names.split()}

EPOCH_NAMES = [
    "epochs",
    "epoch",
    "num_epochs",
    "max_epochs",
    "n_epochs",
    "nb_epochs",
    "train_epochs",
]
MODEL_NAMES = ["model", "net", "arch", "architecture", "network", "backbone", "name"]
DATASET_NAMES = ["dataset", "data_name", "data_set", "ds"]
ANSWERS = {
    **dict.fromkeys(
        ("optimizer", "optim", "opt", "scheduler", "lr_scheduler"),
        "every run uses the paper's SGD, with the settings recipe.lr, recipe.momentum, "
        "recipe.milestones and recipe.weight_decay",
    ),
    **dict.fromkeys(
        ("amp", "fp16", "mixed_precision", "autocast", "half"), "type runtime.precision=bf16"
    ),
    **dict.fromkeys(
        ("resume", "checkpoint", "ckpt", "restore", "load"),
        "a run resumes if you repeat its command",
    ),
    "pretrained": "a run starts from another one's weights with extends=DEPTH; resnet-eval tests "
    "a file with weights=FILE",
    **dict.fromkeys(("plan", "jobs", "part"), "resnet-study has plan, jobs and part"),
    "tensorboard": "every run writes its files: tensorboard --logdir outputs shows them",
}
VALUE_SYNONYMS = {
    ("runtime.device", "gpu"): "cuda",
    ("runtime.devices", "all"): "auto",
    ("runtime.precision", "bfloat16"): "bf16",
    ("runtime.precision", "float32"): "fp32",
}
GROUPS = ("data", "recipe", "runtime", "study")
STUDY_ANSWERS = {
    "fig2": "study=quick trains the block that this figure shows",
    "fig3": "study=fig4 trains the nets that this figure shows",
    "fig5": "study=bottleneck compares the two blocks that this figure shows",
    "table2": "type study=fig4",
    "table6": "type study=fig6",
}
# Hydra's options that take the next argument as their value.
HYDRA_OPTIONS_WITH_VALUE = re.compile(
    "--config-(dir|name|path)|--package|--cfg|--info|--experimental-rerun|-c[dnp]?|-p|-i"
)


def refuse_guesses(arguments: Sequence[str], schema: type[Any]) -> None:
    """Raise ConfigError, with a suggestion, if an argument belongs to another tool."""
    keys = list(schema_fields(schema))
    for number, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if number > 0 and HYDRA_OPTIONS_WITH_VALUE.fullmatch(arguments[number - 1]):
            continue
        if key.startswith("--"):
            name = key[2:].replace("-", "_")
            value = value if equals else "".join(arguments[number + 1 : number + 2])
            if answer := _suggest_for_setting(name, value, keys):
                raise ConfigError(f"{key} is not an option: {answer}")
            if name in keys:
                raise ConfigError(f"{key} is not an option: type {name}={value or 'VALUE'}")
        elif equals:
            name = key.lstrip("+")
            if answer := _suggest_for_setting(name, value, keys):
                problem = f"{name}={value}" if name in (*keys, *GROUPS) else f"key {name}"
                raise ConfigError(f"there is no {problem}: {answer}")
        elif not key.startswith("-") and (answer := _suggest_for_word(key, keys, schema)):
            raise ConfigError(f"{key!r} is not a setting: {answer}")


def _suggest_for_setting(name: str, value: str, keys: list[str]) -> str | None:
    if name.startswith("hydra"):
        return None
    answer = _suggest_for_value if name in (*keys, *GROUPS) else _suggest_for_key
    return answer(name, value, keys)


def _suggest_for_value(name: str, value: str, keys: list[str]) -> str | None:
    """Suggest another value for one of our settings; None if nothing fits."""
    if name == "data" and "/" in value:
        return f"type data=folder data.root={value}"
    if name == "study":
        return STUDY_ANSWERS.get(value)
    if name == "seeds" and value.isdecimal() and 0 < int(value) < 100:
        return f"type seeds=[{','.join(map(str, range(int(value))))}]"
    if name == "depth" and not value.isdecimal():
        return _suggest_net(value, keys)
    return None


def _suggest_for_key(name: str, value: str, keys: list[str]) -> str | None:
    """Suggest one of our settings for an unknown key; None if nothing fits."""
    last = name.rpartition(".")[2]
    if last in MODEL_NAMES:
        return _suggest_net(value, keys) or "type depth=56 residual=false, for instance"
    if last in ANSWERS and "run" not in keys:
        return ANSWERS[last]
    if name == "seeds":
        return f"type -m seed={value.strip('[]').replace(' ', '') or '0,1,2'}"
    if last in EPOCH_NAMES:
        our_key, value = "recipe.iterations", f"{value or 10}ep"
    elif last in DATASET_NAMES:
        return f"type data={value.lower().replace('-', '') or 'NAME'}"
    else:
        our_key = KEY_BY_SYNONYM.get(last) or next(
            (key for key in keys if key.endswith(f".{name}")), ""
        )
    value = VALUE_SYNONYMS.get((our_key, value), value) or "VALUE"
    return f"type {our_key}={value}" if our_key in keys else None


def _suggest_for_word(word: str, keys: list[str], schema: type[Any]) -> str | None:
    """Suggest a setting for an argument without "="; None if nothing fits."""
    if word in ("help", "usage", "list"):
        return "type --help"
    if schema is StudyRunConfig and (config_folder() / "study" / f"{word}.yaml").exists():
        return f"type study={word}"
    if "run" in keys and (Path(word).exists() or "/" in word):
        return f"type run={word}"
    return f"type {word}=VALUE" if word in keys else _suggest_net(word, keys)


def _suggest_net(text: str, keys: list[str]) -> str | None:
    """Suggest settings for a depth or the name of a net, such as resnet20 or plain-56."""
    match = re.fullmatch(r"(plain|vgg|residual|resnet)?[-_]?(\d*)", text.lower())
    if not match or not any(match.groups()):
        return None
    kind, depth = match.groups()
    residual = str(kind not in ("plain", "vgg")).lower()
    if "study.nets" in keys:
        return f"type 'study.nets=[{{depth: {depth or 20}, residual: {residual}}}]'"
    if "residual" not in keys:
        return None
    settings = [f"depth={depth}"] * bool(depth) + [f"residual={residual}"] * bool(kind)
    return f"type {' '.join(settings)}"
