"""The schema of the configuration, its cross-field rules, and the identity of a run.

The YAML files in `conf/` are merged into these dataclasses by Hydra, so an unknown key or a
wrong type fails while the command line is read. `resolve` then checks what no single field can
tell and settles what was left open, before anything is built. Nothing here imports torch.
"""

import math
import re
from typing import Any, cast

from resnet_degradation.config.architectures import FAMILIES, Family, architecture, choose_family
from resnet_degradation.config.custom_code import check_custom_name
from resnet_degradation.config.durations import parse_duration
from resnet_degradation.config.schema import (
    DATA_NAMES,
    PRECISIONS,
    Config,
    DataConfig,
    RuntimeConfig,
)
from resnet_degradation.system.encoding import as_text
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import process_info

LARGEST_IMAGE = 4096
PLAIN_NAME = re.compile(r"[\w-]+")


def check_padding(given: Config, settled: Config) -> None:
    """Raise ConfigError if a single run is to have zeros around the channels of no option A.

    In a study, only some of the nets may have option A. A plain net has no shortcuts at all.
    """
    if given.shortcut_padding == "around" and settled.shortcut not in (None, "A"):
        raise ConfigError(
            f"shortcut_padding=around has no effect with shortcut={settled.shortcut}: it says "
            "where option A puts its zeros; omit it, or give shortcut=A"
        )


def _candidate_families(config: Config) -> tuple[Family, ...]:
    wanted = [config.family] if config.family is not None else config.data.families
    return tuple(cast(Family, family) for family in wanted)


def _check_extends(config: Config) -> None:
    """Raise ConfigError unless the net can begin as a shallower one that is extended."""
    if config.extends is None:
        return
    if config.weights:
        raise ConfigError("weights and extends both say what the net begins with: give one")
    family = choose_family(config.depth, _candidate_families(config))
    deep, shallow = architecture(config.depth, family), architecture(config.extends, family)
    if config.residual or deep.block != "basic" or shallow.block != "basic":
        raise ConfigError(
            "extends is for plain nets of basic blocks (no bottlenecks): residual=false"
        )
    if config.extends >= config.depth:
        raise ConfigError(
            f"extends={config.extends} is no shallower than depth={config.depth}: name the depth "
            "of the net whose solution the deeper one begins with"
        )


def _check_custom_code(config: Config) -> None:
    """Raise ConfigError if a block or a data set of the user's own cannot be used as asked."""
    if (loader := config.data.loader) is not None:
        check_custom_name(loader, "data.loader")
        if config.data.name in DATA_NAMES or not PLAIN_NAME.fullmatch(config.data.name):
            raise ConfigError(
                f"data.name={config.data.name} is not valid with data.loader: give the data set a "
                "name of its own, of letters, digits, - and _ (it names the folder of its runs)"
            )
    elif config.data.name not in DATA_NAMES:
        raise ConfigError(
            f"data.name={config.data.name} is not valid: choose {', '.join(DATA_NAMES)}, or name "
            "what loads your own data set with data.loader=module:function"
        )
    if config.block is not None:
        check_custom_name(config.block, "block")
        family = choose_family(config.depth, _candidate_families(config))
        if architecture(config.depth, family).block != "basic" or config.extends is not None:
            raise ConfigError(
                "block replaces the basic block, of two 3x3 layers: choose a depth without "
                "bottlenecks, and omit extends"
            )


def _check_choices(config: Config) -> None:
    choices: list[tuple[str, Any, tuple[str, ...]]] = [
        ("shortcut", config.shortcut or "A", ("A", "B", "C")),
        ("shortcut_padding", config.shortcut_padding, ("behind", "around")),
        ("family", config.family or "cifar", FAMILIES),
        ("bottleneck_stride", config.bottleneck_stride, ("1x1", "3x3")),
        ("data.on_error", config.data.on_error, ("raise", "skip")),
        ("recipe.schedule", config.recipe.schedule, ("milestones", "plateau")),
        ("recipe.warmup", config.recipe.warmup, ("auto", "always", "never")),
        ("recipe.augmentation", config.recipe.augmentation, ("pad-crop", "scale-jitter", "none")),
        ("runtime.device", config.runtime.device, ("auto", "cpu", "cuda")),
        ("runtime.precision", config.runtime.precision, PRECISIONS),
        ("runtime.compile", config.runtime.compile, ("auto", "none", "net", "graphs")),
        (
            "runtime.checkpoint_activations",
            config.runtime.checkpoint_activations,
            ("auto", "off", "on"),
        ),
        *(("data.families", family, FAMILIES) for family in config.data.families),
    ]
    for key, value, valid in choices:
        if value not in valid:
            raise ConfigError(f"{key}={value} is not valid: choose {', '.join(valid)}")


def _check_ranges(config: Config) -> None:
    data, recipe, runtime = config.data, config.recipe, config.runtime
    finite = {
        "width": config.width,
        "recipe.lr": recipe.lr,
        "recipe.gamma": recipe.gamma,
        "recipe.warmup_lr": recipe.warmup_lr,
    }
    for key, value in finite.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{key}={value} is not valid: give a positive number")
    rules: list[tuple[bool, str]] = [
        (config.seed >= 0, f"seed={config.seed} is not valid: give 0 or more"),
        (
            bool(data.families),
            "data.families is empty: give cifar, imagenet or both",
        ),
        (
            8 <= data.image_size <= LARGEST_IMAGE,
            f"data.image_size={data.image_size} is not valid: give 8 to {LARGEST_IMAGE}",
        ),
        (
            0 <= data.validation_fraction < 1,
            f"data.validation_fraction={data.validation_fraction} is not valid: "
            "give a share of the training set in [0, 1), as 0.1 for 45k/5k",
        ),
        (
            recipe.batch_size >= 2,
            f"recipe.batch_size={recipe.batch_size} is too small: "
            "batch normalization needs at least 2",
        ),
        (0 <= recipe.momentum < 1, f"recipe.momentum={recipe.momentum} is not in [0, 1)"),
        (
            math.isfinite(recipe.weight_decay) and recipe.weight_decay >= 0,
            f"recipe.weight_decay={recipe.weight_decay} is not valid: give 0 or more",
        ),
        (
            0 < recipe.warmup_until <= 100,
            f"recipe.warmup_until={recipe.warmup_until} is not valid: give an error in percent",
        ),
        (
            math.isfinite(recipe.plateau_threshold) and recipe.plateau_threshold >= 0,
            f"recipe.plateau_threshold={recipe.plateau_threshold} is not valid: give 0 or more",
        ),
        (
            recipe.warmup_window >= 1 and recipe.plateau_patience >= 1,
            "recipe.warmup_window and recipe.plateau_patience must be at least 1",
        ),
        (
            0 <= recipe.pad <= data.image_size,
            f"recipe.pad={recipe.pad} is not valid: give 0 to data.image_size={data.image_size}",
        ),
        (
            math.isfinite(recipe.colour_std) and recipe.colour_std >= 0,
            f"recipe.colour_std={recipe.colour_std} is not valid: give 0 or more",
        ),
        (
            runtime.devices == "auto" or (isinstance(runtime.devices, int) and runtime.devices > 0),
            f"runtime.devices={runtime.devices} is not valid: give a number of processes, or auto",
        ),
        (
            runtime.max_restarts >= 0,
            f"runtime.max_restarts={runtime.max_restarts} is not valid: give 0 or more",
        ),
        (
            math.isfinite(runtime.timeout) and runtime.timeout > 0,
            f"runtime.timeout={runtime.timeout} is not valid: give seconds",
        ),
        (
            0 <= runtime.num_threads <= 4096 and 0 <= runtime.num_workers <= 4096,
            "runtime.num_threads and runtime.num_workers must be in 0 .. 4096",
        ),
        (
            runtime.lock in ("on", "off") or any(sign in runtime.lock for sign in "/\\"),
            f"runtime.lock={runtime.lock} is not valid: give on, off or a folder, as ./locks",
        ),
        (
            runtime.eval_batch_size > 0,
            f"runtime.eval_batch_size={runtime.eval_batch_size} is not valid: give at least 1",
        ),
        (bool(config.output_dir), "output_dir is empty: name a folder"),
        (
            config.output_dir == as_text(config.output_dir),
            f"output_dir={config.output_dir} is no text in UTF-8, which TensorBoard needs: name "
            "another folder",
        ),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    _check_normalization(data)
    _check_scale(config)
    _check_intervals(runtime)
    where = process_info()
    if where is not None and runtime.devices not in (1, "auto", where.size):
        raise ConfigError(
            f"runtime.devices={runtime.devices}, but this is one of {where.size} processes that "
            "torchrun or Slurm started: omit runtime.devices"
        )
    if where is not None:
        check_processes(config, where.size)
    elif isinstance(runtime.devices, int):
        check_processes(config, runtime.devices)


def check_processes(config: Config, count: int) -> None:
    """Raise ConfigError if a batch cannot be divided among so many processes."""
    batch_size = config.recipe.batch_size
    if batch_size % count:
        raise ConfigError(
            f"recipe.batch_size={batch_size} cannot be divided among {count} processes: give a "
            f"multiple of {count}, or other runtime.devices"
        )
    if batch_size < 2 * count and not config.runtime.sync_batchnorm:
        raise ConfigError(
            f"recipe.batch_size={batch_size} leaves one image for each of {count} processes: batch "
            "normalization needs at least 2, or runtime.sync_batchnorm=true"
        )


def _check_normalization(data: DataConfig) -> None:
    if data.mean not in ("pixel", "channel") and not _is_rgb(data.mean, smallest=0):
        raise ConfigError(
            f"data.mean={data.mean} is not valid: choose pixel, channel, or three numbers in "
            "[0, 1], as [0.485,0.456,0.406]"
        )
    if data.std is not None and not _is_rgb(data.std, smallest=1e-6):
        raise ConfigError(
            f"data.std={data.std} is not valid: give three numbers in (0, 1], as "
            "[0.229,0.224,0.225], or null"
        )


def _is_rgb(values: Any, smallest: float) -> bool:
    numbers = isinstance(values, list) and len(values) == 3
    return numbers and all(
        isinstance(v, int | float) and not isinstance(v, bool) and smallest <= v <= 1
        for v in values
    )


def _check_scale(config: Config) -> None:
    scale, size = config.recipe.scale, config.data.image_size
    if scale is not None and not (len(scale) == 2 and size <= scale[0] <= scale[1]):
        raise ConfigError(
            f"recipe.scale={scale} is not valid: give [smallest, largest] shorter side, "
            f"not below the crop of data.image_size={size}"
        )
    if config.recipe.colour_std > 0 and config.recipe.augmentation != "scale-jitter":
        raise ConfigError(
            "recipe.colour_std belongs to recipe.augmentation=scale-jitter: set it to 0, or "
            f"choose that augmentation instead of {config.recipe.augmentation}"
        )


def _check_intervals(runtime: RuntimeConfig) -> None:
    for key in ("log_every", "eval_every", "checkpoint_every", "signals_every"):
        if (interval := getattr(runtime, key)) is not None:
            parse_duration(interval, f"runtime.{key}")


def check_measuring_runtime(command: str, runtime: RuntimeConfig) -> None:
    """Raise ConfigError for settings of `runtime` that have no effect on measuring a net."""
    if runtime.devices not in (1, "auto"):
        raise ConfigError(f"{command} runs in one process: omit runtime.devices")
    if runtime.precision != "fp32":
        raise ConfigError(f"{command} computes in fp32: omit runtime.precision")
