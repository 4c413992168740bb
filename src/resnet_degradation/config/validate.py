"""Checks the values of single settings and of combinations. The schema checks their types."""

import math
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from resnet_degradation.config.architectures import FAMILIES, Family, find_architecture
from resnet_degradation.config.custom_code import check_custom_name
from resnet_degradation.config.durations import parse_duration
from resnet_degradation.config.schema import DATA_NAMES, PRECISIONS, Config, RuntimeConfig
from resnet_degradation.system.encoding import escape_non_utf8
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import read_process_info

MAX_IMAGE_SIZE = 4096
DATA_NAME_PATTERN = re.compile(r"[\w-]+")

CHOICES: dict[str, tuple[str, ...]] = {
    "shortcut": ("A", "B", "C"),
    "shortcut_padding": ("behind", "around"),
    "family": FAMILIES,
    "bottleneck_stride": ("1x1", "3x3"),
    "data.on_error": ("raise", "skip"),
    "recipe.schedule": ("milestones", "plateau"),
    "recipe.warmup": ("auto", "always", "never"),
    "recipe.resize": ("exact", "fast"),
    "recipe.augmentation": ("pad-crop", "scale-jitter", "none"),
    "runtime.device": ("auto", "cpu", "cuda", "mps"),
    "runtime.precision": PRECISIONS,
    "runtime.compile": ("auto", "none", "net", "graphs", "step"),
    "runtime.checkpoint_activations": ("auto", "off", "on"),
}


Rule = tuple[Callable[[Any], bool], str]
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "a positive number")
NON_NEGATIVE: Rule = (lambda value: 0 <= value < math.inf, "0 or more")
NUM_WORKERS: Rule = (lambda count: 0 <= count <= 4096, "0 to 4096")


def _is_rgb(values: Any, minimum: float) -> bool:
    is_triple = isinstance(values, list) and len(values) == 3
    return is_triple and all(type(v) in (int, float) and minimum <= v <= 1 for v in values)


# Whether a setting's value is valid, and what an error says after "it must be".
RULES: dict[str, Rule] = {
    "seed": NON_NEGATIVE,
    "width": POSITIVE,
    "output_dir": (
        lambda folder: bool(folder) and folder == escape_non_utf8(folder),
        "a folder with a UTF-8 name, which TensorBoard needs",
    ),
    "data.families": (
        lambda families: bool(families) and set(families) <= set(FAMILIES),
        "cifar, imagenet or both in a list",
    ),
    "data.image_size": (lambda size: 8 <= size <= MAX_IMAGE_SIZE, f"8 to {MAX_IMAGE_SIZE}"),
    "data.validation_fraction": (lambda fraction: 0 <= fraction < 1, "a fraction in [0, 1)"),
    "data.mean": (
        lambda mean: mean in ("pixel", "channel") or _is_rgb(mean, minimum=0),
        "pixel, channel, or three numbers in [0, 1], such as [0.485,0.456,0.406]",
    ),
    "data.std": (
        lambda std: std is None or _is_rgb(std, minimum=1e-6),
        "three numbers in (0, 1], such as [0.229,0.224,0.225], or null",
    ),
    "recipe.batch_size": (lambda size: size >= 2, "at least 2, for batch normalization"),
    "recipe.lr": POSITIVE,
    "recipe.gamma": POSITIVE,
    "recipe.momentum": (lambda momentum: 0 <= momentum < 1, "a number in [0, 1)"),
    "recipe.weight_decay": NON_NEGATIVE,
    "recipe.warmup_lr": POSITIVE,
    "recipe.warmup_until": (lambda error: 0 < error <= 100, "an error in percent"),
    "recipe.warmup_window": POSITIVE,
    "recipe.plateau_patience": POSITIVE,
    "recipe.plateau_threshold": NON_NEGATIVE,
    "recipe.colour_std": NON_NEGATIVE,
    "runtime.devices": (
        lambda devices: devices == "auto" or (isinstance(devices, int) and devices > 0),
        "a number of processes, or auto",
    ),
    "runtime.max_restarts": NON_NEGATIVE,
    "runtime.timeout": (POSITIVE[0], "a positive number of seconds"),
    "runtime.num_threads": NUM_WORKERS,
    "runtime.num_workers": NUM_WORKERS,
    "runtime.lock": (
        lambda lock: lock in ("on", "off") or any(separator in lock for separator in "/\\"),
        "on, off or a folder, such as ./locks",
    ),
    "runtime.eval_batch_size": POSITIVE,
}


def check_values(config: Config) -> None:
    """Raise ConfigError if a value is invalid by itself or in combination with others."""
    for key, choices in CHOICES.items():
        if (value := attrgetter(key)(config)) not in (None, *choices):
            raise ConfigError(f"{key}={value} is not valid: choose {', '.join(choices)}")
    for key, (is_valid, expected) in RULES.items():
        if not is_valid(value := attrgetter(key)(config)):
            raise ConfigError(f"{key}={value} is not valid: it must be {expected}")
    recipe, runtime, size = config.recipe, config.runtime, config.data.image_size
    if not 0 <= recipe.pad <= size:
        raise ConfigError(
            f"recipe.pad={recipe.pad} is not valid: it must be 0 to {size} (data.image_size)"
        )
    scale = recipe.scale
    if scale is not None and not (len(scale) == 2 and size <= scale[0] <= scale[1]):
        raise ConfigError(
            f"recipe.scale={scale} is not valid: it must be the [smallest, largest] length of the "
            f"shorter side, at least {size} (data.image_size)"
        )
    if recipe.colour_std > 0 and recipe.augmentation != "scale-jitter":
        raise ConfigError(
            "recipe.colour_std needs recipe.augmentation=scale-jitter: set recipe.colour_std=0"
        )
    for key in ("log_every", "eval_every", "checkpoint_every", "keep_every", "signals_every"):
        if (interval := getattr(runtime, key)) is not None:
            parse_duration(interval, f"runtime.{key}")
    _check_devices(config)


def _check_devices(config: Config) -> None:
    process, devices = read_process_info(), config.runtime.devices
    if process is not None:
        if devices not in (1, "auto", process.size):
            raise ConfigError(
                f"runtime.devices={devices}, but this is one of {process.size} processes that "
                "torchrun or Slurm started: omit runtime.devices"
            )
        check_batch_division(config, process.size)
    elif devices != "auto":
        check_batch_division(config, int(devices))
    if config.runtime.device == "mps":
        _check_apple_gpu(config.runtime, 1 if process is None else process.size)


def _check_apple_gpu(runtime: RuntimeConfig, num_processes: int) -> None:
    """Raise ConfigError for settings that are not supported on an Apple GPU."""
    problems = {
        "computes in fp32: omit runtime.precision": runtime.precision != "fp32",
        "trains without a compiler: omit runtime.compile": runtime.compile not in ("auto", "none"),
        "keeps all activations: omit runtime.checkpoint_activations": (
            runtime.checkpoint_activations == "on"
        ),
        "is for one process: omit runtime.devices": runtime.devices not in (1, "auto"),
        "is for one process: start it without torchrun or srun": num_processes > 1,
    }
    for problem, is_present in problems.items():
        if is_present:
            raise ConfigError(f"runtime.device=mps {problem}. Or use runtime.device=cpu")


def check_batch_division(config: Config, num_processes: int) -> None:
    """Raise ConfigError if a batch cannot be divided among this number of processes."""
    batch_size = config.recipe.batch_size
    if batch_size % num_processes:
        raise ConfigError(
            f"recipe.batch_size={batch_size} cannot be divided among {num_processes} processes: "
            f"use a multiple of {num_processes}, or change runtime.devices"
        )
    if batch_size < 2 * num_processes and not config.runtime.sync_batchnorm:
        raise ConfigError(
            f"recipe.batch_size={batch_size} leaves one image for each of {num_processes} "
            "processes: batch normalization needs at least 2, or runtime.sync_batchnorm=true"
        )


def check_shortcut_padding(config: Config, resolved: Config) -> None:
    """Raise ConfigError if a single run sets shortcut_padding=around, but has shortcut=B or C.

    Studies are not checked, because some of their nets may have option A. A plain net has no
    shortcuts, so it may have any padding.
    """
    if config.shortcut_padding == "around" and resolved.shortcut not in (None, "A"):
        raise ConfigError(
            f"shortcut_padding=around has no effect with shortcut={resolved.shortcut}: omit it, or "
            "set shortcut=A, the option with zero padding"
        )


def check_net_to_extend(config: Config, family: Family) -> None:
    """Raise ConfigError if `extends` names a net that this net cannot start from."""
    if config.extends is None:
        return
    if config.weights:
        raise ConfigError("weights and extends both set the initial weights: set only one of them")
    blocks = [find_architecture(depth, family).block for depth in (config.depth, config.extends)]
    if config.residual or blocks != ["basic", "basic"]:
        raise ConfigError("extends is for plain nets (residual=false; no bottlenecks)")
    if config.extends >= config.depth:
        raise ConfigError(
            f"extends={config.extends} is not below depth={config.depth}: it must be the depth "
            "of a shallower, trained net"
        )


def check_custom_code(config: Config, family: Family) -> None:
    """Raise ConfigError if a custom block or data set cannot be used as configured."""
    name, loader = config.data.name, config.data.loader
    if loader is None and name not in DATA_NAMES:
        raise ConfigError(
            f"data.name={name} is not valid: choose {', '.join(DATA_NAMES)}, or set "
            "data.loader=module:function for a custom data set"
        )
    if loader is not None:
        check_custom_name(loader, "data.loader")
        if name in DATA_NAMES or not DATA_NAME_PATTERN.fullmatch(name):
            raise ConfigError(
                f"data.name={name} is not valid with data.loader: choose a new name of letters, "
                "digits, - and _ (the folder of the runs will have this name)"
            )
    if config.block is not None:
        check_custom_name(config.block, "block")
        if find_architecture(config.depth, family).block != "basic" or config.extends is not None:
            raise ConfigError(
                "block replaces the basic block: choose a depth without bottlenecks, and omit "
                "extends"
            )


def check_evaluation_runtime(command: str, runtime: RuntimeConfig) -> None:
    """Raise ConfigError for `runtime` settings that evaluation and inspection do not support."""
    if runtime.devices not in (1, "auto"):
        raise ConfigError(f"{command} runs in one process: omit runtime.devices")
    if runtime.precision != "fp32":
        raise ConfigError(f"{command} computes in fp32: omit runtime.precision")
