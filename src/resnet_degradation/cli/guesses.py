"""Recognizes settings that users know from other tools, and suggests what to type instead."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_degradation.cli.compose import config_folder
from resnet_degradation.config.schema import schema_fields
from resnet_degradation.system.errors import ConfigError

# Names that other tools have for our settings.
SYNONYMS = {
    "depth": "layers num_layers n_layers",
    "residual": "skip skips skip_connection skip_connections shortcuts residuals",
    "seed": "random_seed manual_seed rng_seed",
    "output_dir": "output out out_dir outdir save_dir log_dir logdir results_dir",
    "recipe.lr": "learning_rate learningrate base_lr",
    "recipe.batch_size": "batch batchsize bs b train_batch_size ims_per_batch",
    "recipe.momentum": "beta",
    "recipe.weight_decay": "wd decay l2 weightdecay",
    "recipe.iterations": "iters steps max_iter max_iters max_steps num_steps num_iterations "
    "train_steps",
    "recipe.milestones": "lr_steps schedule lr_milestones",
    "recipe.gamma": "lr_decay lr_gamma",
    "data.root": "root data_dir datadir data_path dataset_path data_root",
    "data.image_size": "img_size imgsize size resolution input_size crop_size",
    "runtime.device": "accelerator",
    "runtime.devices": "gpus num_gpus n_gpus ngpus nproc nproc_per_node world_size",
    "runtime.num_workers": "workers n_workers j dataloader_workers",
    "runtime.num_threads": "threads n_threads cpu_threads",
    "runtime.precision": "dtype",
    "weights": "checkpoint checkpoint_path ckpt model_path load",
    "runtime.log_every": "log_interval print_freq log_freq",
    "runtime.eval_every": "eval_interval val_every test_every eval_freq",
    "runtime.checkpoint_every": "save_every ckpt_every save_interval checkpoint_interval save_freq",
}
KEY_BY_SYNONYM = {name: key for key, names in SYNONYMS.items() for name in names.split()}
# Names of the opposite of residual.
NEGATIONS = {"plain", "no_residual", *(f"no_{name}" for name in SYNONYMS["residual"].split())}

EPOCH_NAMES = re.compile("((num|max|n|nb|train)_)?epochs?")
MODEL_NAMES = ["model", "net", "arch", "architecture", "network", "backbone", "name"]
DATASET_NAMES = ["dataset", "data_name", "data_set", "ds"]
ANSWERS = {
    **dict.fromkeys(
        ("amp", "fp16", "mixed_precision", "autocast", "half"), "type runtime.precision=bf16"
    ),
    **dict.fromkeys(
        ("gpu", "gpu_id", "gpu_ids", "device_id", "cuda_device"),
        "type runtime.device=cuda; the environment variable CUDA_VISIBLE_DEVICES selects GPUs",
    ),
    "num_classes": "the data set decides the number of classes",
}
TRAINING_ANSWERS = {
    **dict.fromkeys(
        ("optimizer", "optim", "opt", "sched", "scheduler", "lr_scheduler"),
        "every run uses the paper's SGD, with the settings recipe.lr, recipe.momentum, "
        "recipe.milestones and recipe.weight_decay",
    ),
    **dict.fromkeys(
        ("resume", "checkpoint", "ckpt", "restore", "load"),
        "a run resumes if you repeat its command",
    ),
    "pretrained": "a run starts from another one's weights with extends=DEPTH; resnet-eval tests "
    "a file with weights=FILE",
    **dict.fromkeys(("plan", "jobs", "part"), "resnet-study has plan, jobs and part"),
    **dict.fromkeys(
        ("dry_run", "dryrun", "fast_dev_run"),
        "resnet-study plan=true lists the runs of a study; recipe.iterations=10 trains briefly",
    ),
    **dict.fromkeys(
        ("cutout", "mixup", "cutmix", "label_smoothing", "dropout", "nesterov", "ema"),
        "the paper's recipe has no such setting, and this trainer follows it",
    ),
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


def refuse_guesses(arguments: Sequence[str], schema: type[Any]) -> None:
    """Raise ConfigError, with a suggestion, if an argument belongs to another tool."""
    keys = list(schema_fields(schema))
    for number, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if key.startswith("~"):  # removes a setting
            continue
        name = key.lstrip("+-").replace("-", "_")
        if not equals:  # as in --depth 56 or depth 56
            following = "".join(arguments[number + 1 : number + 2])
            value = "" if "=" in following else following
        setting = f"type {name}={value or 'VALUE'}" if name in keys else None
        if key.startswith("-"):
            problem = f"{key} is not an option"
            answer = _suggest_for_setting(name, value, keys) or setting
            if name == "list":
                answer = _suggest_for_word(name, keys)
        elif equals:
            known = name in (*keys, *GROUPS)
            problem = f"there is no {name}={value}" if known else f"there is no key {name}"
            answer = _suggest_for_setting(name, value, keys)
            if name in keys and key.lstrip("+") != name:  # as in recipe.weight-decay=0
                problem, answer = f"there is no key {key}", setting
        elif number > 0 and arguments[number - 1].startswith("-"):  # an option's value
            continue
        else:
            problem = f"{key!r} is not a setting"
            answer = (
                setting or _suggest_for_word(key, keys) or _suggest_for_setting(name, value, keys)
            )
        if answer:
            raise ConfigError(f"{problem}: {answer}")


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
        return f"type 'seeds=[{','.join(map(str, range(int(value))))}]'"
    if name == "depth" and not value.isdecimal():
        return _suggest_net(value, keys)
    return None


def _suggest_for_key(name: str, value: str, keys: list[str]) -> str | None:
    """What to type instead of a key that is not ours; None if nothing fits."""
    first, last = name.partition(".")[0], name.rpartition(".")[2].lower()
    if last in MODEL_NAMES:
        return _suggest_net(value, keys) or "type depth=56 residual=false, for instance"
    answers = ANSWERS if "run" in keys else ANSWERS | TRAINING_ANSWERS
    if last in answers:
        return answers[last]
    if name == "seeds":
        return f"type -m seed={value.strip('[]').replace(' ', '') or '0,1,2'}"
    if EPOCH_NAMES.fullmatch(last):
        our_key, value = "recipe.iterations", f"{value or 10}ep"
    elif last in NEGATIONS:
        our_key, value = "residual", str(value.lower() in ("false", "no", "0")).lower()
    elif last == "seed" and "seeds" in keys:
        our_key, value = "seeds", f"[{value.strip('[]') or '0,1,2'}]"
    elif last in DATASET_NAMES:
        return f"type data={value.lower().replace('-', '') or 'NAME'}"
    else:
        our_key = KEY_BY_SYNONYM.get(last, "")
        if not our_key and first not in GROUPS:
            our_key = next((key for key in keys if key.rpartition(".")[2] == last), "")
    value = VALUE_SYNONYMS.get((our_key, value), value) or "VALUE"
    setting = f"'{our_key}={value}'" if "[" in value else f"{our_key}={value}"
    return f"type {setting}" if our_key in keys else None


def _suggest_for_word(word: str, keys: list[str]) -> str | None:
    """What to type for an argument without "=" that is no setting's name; None if nothing fits."""
    figure = re.sub(r"^(fig|table)(ure)?[-_ ]?(?=\d)", r"\1", word)
    for group in ("study", "data", "recipe"):
        if group in keys and (config_folder() / group / f"{figure}.yaml").exists():
            return f"type {group}={figure}"
    if "study" in keys and re.fullmatch(r"list|studies|(fig|table)\d\w*", figure):
        studies = sorted(path.stem for path in (config_folder() / "study").glob("*.yaml"))
        return STUDY_ANSWERS.get(figure, f"type study=NAME with one of {', '.join(studies)}")
    if word in ("help", "usage", "list", "train", "fit"):
        return "type --help"
    return (
        _suggest_for_path(word, keys)
        or _suggest_for_value("data", word, keys)
        or _suggest_net(word, keys)
    )


def _suggest_for_path(word: str, keys: list[str]) -> str | None:
    """What to type for a file of weights or the folder of a run; None if it is neither."""
    if Path(word).suffix in (".pt", ".pth", ".ckpt", ".safetensors"):
        if "weights" in keys:
            return f"type weights={word} with the net's depth, residual and data"
        return f"resnet-eval tests such a file: weights={word}"
    if "run" in keys and (Path(word).exists() or "/" in word):
        return f"type run={word}"
    return None


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
