"""The schema of the configuration, its cross-field rules, and the identity of a run.

The YAML files in `conf/` are merged into these dataclasses by Hydra, so an unknown key or a
wrong type fails while the command line is read. `settle` then checks what no single field can
tell and settles what was left open, before anything is built. Nothing here imports torch.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, Optional, Union, cast

from omegaconf import MISSING

from resnet_degradation.durations import is_fraction, normal_duration, parse_duration
from resnet_degradation.encoding import as_text
from resnet_degradation.errors import ConfigError
from resnet_degradation.families import (
    FAMILIES,
    Family,
    architecture,
    choose_family,
    default_shortcut,
)
from resnet_degradation.plugins import attribute_of, check_own
from resnet_degradation.processes import place

# OmegaConf reads `Optional` and `Union`, not `X | Y`, on every Python that it supports.
# ruff: noqa: UP007, UP045

DATA_NAMES = ("digits", "cifar10", "cifar100", "folder", "imagenet", "imagenette")
# Data of the user's own, which only its folder identifies.
OWN_IMAGES = ("folder", "imagenet")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
INSPECTIONS = ("responses", "signals", "residuals", "lesions")
ERRORS = ("both", "training", "held-out")

LARGEST_IMAGE = 4096
PLAIN_NAME = re.compile(r"[\w-]+")

# Depths from which section 4.2 begins with the smaller rate.
WARMUP_FROM_DEPTH = 110
# Section 3.4 samples the shorter side in [256, 480] for crops of 224.
SCALE_OF_CROP = (256 / 224, 480 / 224)

# The fields that name paths: what has to be there, a list of that, and what is written.
INPUT, INPUTS, OUTPUT = {"path": "input"}, {"path": "inputs"}, {"path": "output"}


@dataclass
class DataConfig:
    """Which images, and at which size the net sees them."""

    name: str = MISSING
    loader: Optional[str] = None
    root: Optional[str] = field(default=None, metadata=INPUT)
    image_size: int = 32
    families: list[str] = field(default_factory=lambda: list(FAMILIES))
    validation_fraction: float = 0.0
    mean: Any = "pixel"
    std: Optional[list[float]] = None
    on_error: str = "raise"
    download: bool = True


@dataclass
class RecipeConfig:
    """How a net is trained: everything of sections 3.4 and 4.2 that is no net and no image."""

    iterations: Union[int, float, str] = 64000
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "milestones"
    milestones: list[Any] = field(default_factory=lambda: [0.5, 0.75])
    gamma: float = 0.1
    plateau_every: Union[int, float, str] = "1ep"
    plateau_patience: int = 5
    plateau_threshold: float = 0.1
    warmup: str = "auto"
    warmup_lr: float = 0.01
    warmup_until: float = 80.0
    warmup_window: int = 50
    augmentation: str = "pad-crop"
    pad: int = 4
    mirror: bool = True
    scale: Optional[list[int]] = None
    colour_std: float = 0.0


@dataclass
class RuntimeConfig:
    """How a run is carried out.

    Of all this, only the precision is part of a run's identity. The number of threads, `compile`
    and, without `sync_batchnorm`, the number of `devices` change results too, by rounding or a
    little more: so that a run can go on elsewhere, they are recorded and warned of instead.
    """

    device: str = "auto"
    devices: Union[int, str] = 1
    sync_batchnorm: bool = False
    max_restarts: int = 0
    timeout: float = 600.0
    lock: str = field(default="on", metadata=OUTPUT)
    precision: str = "fp32"
    compile: str = "auto"
    checkpoint_activations: str = "auto"
    num_threads: int = 0
    num_workers: int = 2
    log_every: Optional[Union[int, float, str]] = None
    eval_every: Optional[Union[int, float, str]] = None
    checkpoint_every: Optional[Union[int, float, str]] = None
    signals_every: Optional[Union[int, float, str]] = None
    eval_batch_size: int = 500


@dataclass
class Settings:
    """What the runs of a study have in common."""

    shortcut: Optional[str] = None
    shortcut_padding: Optional[str] = "behind"  # in the YAML files null: what the weights say
    width: float = 1.0
    family: Optional[str] = None
    block: Optional[str] = None
    bottleneck_stride: str = "1x1"
    output_dir: str = field(default="outputs", metadata=OUTPUT)
    data: DataConfig = field(default_factory=DataConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass
class Config(Settings):
    """One run: a net, its data, its recipe."""

    depth: int = 20
    residual: bool = True
    seed: int = 0
    weights: Optional[str] = field(default=None, metadata=INPUT)
    weights_digest: Optional[str] = None
    extends: Optional[int] = None


@dataclass
class EvaluationConfig(Config):
    """A net, its data, and how it is tested."""

    run: Optional[str] = field(default=None, metadata=INPUT)
    protocol: str = "center"
    split: Optional[str] = None
    shorter_side: Optional[int] = None
    scales: Optional[list[int]] = None
    export: Optional[str] = field(default=None, metadata=OUTPUT)


@dataclass
class InspectionConfig:
    """Which runs are looked into, and what is measured of them."""

    run: Any = field(default=None, metadata=INPUTS)
    what: list[str] = field(default_factory=lambda: list(INSPECTIONS))
    images: int = 500
    draws: int = 5
    max_blocks: int = 60
    output_dir: str = field(default="outputs", metadata=OUTPUT)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass
class NetConfig:
    """One net of a study; what is not given is taken from the rest of the configuration."""

    depth: int = MISSING
    residual: bool = MISSING
    shortcut: Optional[str] = None
    shortcut_padding: Optional[str] = None
    width: Optional[float] = None
    block: Optional[str] = None
    extends: Optional[int] = None


@dataclass
class PanelConfig:
    """One panel of a study's curves: which of its nets, and which of their errors."""

    title: str = ""
    residual: Optional[bool] = None  # null: plain and residual nets
    min_depth: int = 0
    max_depth: int = 10**9
    errors: str = "both"


@dataclass
class StudyConfig:
    """The runs that make a figure (every net with every seed), and what is drawn of them."""

    name: str = MISSING
    title: str = ""
    nets: list[NetConfig] = field(default_factory=list)
    figures: list[str] = field(default_factory=lambda: ["curves"])
    panels: list[PanelConfig] = field(
        default_factory=lambda: [
            PanelConfig("plain nets", residual=False),
            PanelConfig("residual nets", residual=True),
        ]
    )
    dashed: bool = False
    y_max: Optional[float] = None


@dataclass
class StudyRunConfig(Settings):
    """A study, what its runs have in common, and how they are to be run."""

    seeds: list[int] = field(default_factory=lambda: [0])
    study: StudyConfig = field(default_factory=StudyConfig)
    jobs: int = 1
    part: Optional[int] = None
    plan: bool = False


def schema_fields(schema: type[Any], prefix: str = "") -> Iterator[tuple[str, "Field[Any]"]]:
    """Every key of a schema, with dots, and its field."""
    for each in dataclasses.fields(schema):
        yield prefix + each.name, each
        factory = each.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from schema_fields(factory, f"{prefix}{each.name}.")


def settle(config: Config) -> Config:
    """Check every rule between fields and fill in what was left open.

    Raises ConfigError, naming the key and what is valid, for whatever cannot be run.
    """
    config = dataclasses.replace(
        config,
        family=config.family or None,
        shortcut=config.shortcut or None,
        shortcut_padding=config.shortcut_padding or "behind",
        block=config.block or None,
        data=dataclasses.replace(
            config.data, root=config.data.root or None, loader=config.data.loader or None
        ),
    )
    _check_choices(config)
    _check_ranges(config)
    weights, weights_digest = _weights(config)
    _check_extends(config)
    _check_own_code(config)
    family = choose_family(config.depth, _candidate_families(config))
    shortcut = config.shortcut or default_shortcut(config.depth, family)
    return dataclasses.replace(
        config,
        family=family,
        shortcut=shortcut if config.residual else None,
        # Only option A has zeros to put somewhere.
        shortcut_padding=(
            config.shortcut_padding if config.residual and shortcut == "A" else "behind"
        ),
        weights=weights,
        weights_digest=weights_digest,
        data=dataclasses.replace(config.data, root=_data_root(config.data)),
        recipe=dataclasses.replace(
            config.recipe,
            iterations=normal_duration(config.recipe.iterations, "recipe.iterations"),
            plateau_every=normal_duration(config.recipe.plateau_every, "recipe.plateau_every"),
            milestones=[_normal_milestone(m) for m in config.recipe.milestones],
            warmup=_warmup(config, family),
            scale=_scale(config),
        ),
    )


def check_padding(given: Config, settled: Config) -> None:
    """Raise ConfigError if a single run is to have zeros around the channels of no option A.

    In a study, only some of the nets may have option A. A plain net has no shortcuts at all.
    """
    if given.shortcut_padding == "around" and settled.shortcut not in (None, "A"):
        raise ConfigError(
            f"shortcut_padding=around has no effect with shortcut={settled.shortcut}: it says "
            "where option A puts its zeros; omit it, or give shortcut=A"
        )


def _warmup(config: Config, family: Family) -> str:
    given = config.recipe.warmup
    return default_warmup(config.depth, family) if given == "auto" else given


def default_warmup(depth: int, family: Family) -> str:
    """What warmup=auto comes to: section 4.2 begins with the smaller rate from some depth on."""
    return "always" if family == "cifar" and depth >= WARMUP_FROM_DEPTH else "never"


def _normal_milestone(milestone: Any) -> Any:
    return milestone if is_fraction(milestone) else normal_duration(milestone, "recipe.milestones")


def _candidate_families(config: Config) -> tuple[Family, ...]:
    wanted = [config.family] if config.family is not None else config.data.families
    return tuple(cast(Family, family) for family in wanted)


def _scale(config: Config) -> list[int] | None:
    if config.recipe.augmentation != "scale-jitter":
        return None
    if config.recipe.scale is not None:
        return config.recipe.scale
    return [round(config.data.image_size * ratio) for ratio in SCALE_OF_CROP]


def _data_root(data: DataConfig) -> str | None:
    """Where the images are: `data.root`, or by default RESNET_DATA, or else ./data.

    A loader of the user's own is told what was given, and nothing by default.
    """
    if data.name == "digits":
        return None
    if data.root is not None:
        return _normal_path(data.root)
    if data.loader is not None:
        return None
    base = _normal_path(os.environ.get("RESNET_DATA") or "data")
    return str(Path(base) / "imagenet") if data.name == "imagenet" else base


def _normal_path(path: str) -> str:
    """The absolute path without "..", so that one folder has one name."""
    return os.path.abspath(expand_home(path))  # noqa: PTH100 (Path keeps "..")


def expand_home(path: str) -> str:
    """The path with the home folder in place of ~ or of ~user, if there is such a user."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises for other users)


def _weights(config: Config) -> tuple[str | None, str | None]:
    """The file of a net's initial weights as an absolute path, and the digest of its content."""
    if not config.weights:
        if config.weights_digest:
            raise ConfigError("weights_digest is the digest of a file: name that with weights=")
        return None, None
    path = _normal_path(config.weights)
    digest = file_digest(Path(path))
    if config.weights_digest not in (None, digest):
        raise ConfigError(
            f"weights={path} is another file than expected: its digest is {digest}, not "
            f"weights_digest={config.weights_digest}"
        )
    return path, digest


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


def _check_own_code(config: Config) -> None:
    """Raise ConfigError if a block or a data set of the user's own cannot be used as asked."""
    if (loader := config.data.loader) is not None:
        check_own(loader, "data.loader")
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
        check_own(config.block, "block")
        family = choose_family(config.depth, _candidate_families(config))
        if architecture(config.depth, family).block != "basic" or config.extends is not None:
            raise ConfigError(
                "block replaces the basic block, of two 3x3 layers: choose a depth without "
                "bottlenecks, and omit extends"
            )


def file_digest(file: Path) -> str:
    """16 hexadecimal digits that name a file's content; raises ConfigError if there is none."""
    content = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                content.update(part)
    except OSError as error:
        raise ConfigError(f"weights={file} cannot be read ({error.strerror})") from error
    return content.hexdigest()[:16]


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
    where = place()
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


def identity(config: Config) -> dict[str, Any]:
    """Every setting that a run's results are to depend on (RuntimeConfig says what else does).

    Devices, workers and intervals of logging do not belong to it. A setting at the schema's
    default is left out, so that a later version can add one without renaming earlier runs.
    """
    kept = dataclasses.asdict(config)
    runtime, _ = kept.pop("runtime"), kept.pop("output_dir")
    kept["runtime"] = {"precision": runtime["precision"]}
    # on_error: a run that there would be no other way is told by its images, which it checks.
    for key in ("families", "download", "on_error"):
        kept["data"].pop(key)
    if config.data.name not in OWN_IMAGES and config.data.loader is None:
        kept["data"].pop("root")  # the same checksummed images, wherever they are
    kept.pop("weights")  # their digest tells which they are, wherever they are
    if architecture(config.depth, cast(Family, config.family)).block == "basic":
        kept.pop("bottleneck_stride")
    for key in _without_effect(config.recipe):
        kept["recipe"].pop(key)
    return _changed(kept, dataclasses.asdict(Config()))


def _without_effect(recipe: RecipeConfig) -> Iterator[str]:
    """The keys of the recipe that its other keys put out of use."""
    if recipe.schedule == "plateau":
        yield "milestones"
    else:
        yield from ("plateau_every", "plateau_patience", "plateau_threshold")
    if recipe.warmup == "never":
        yield from ("warmup_lr", "warmup_until", "warmup_window")
    if recipe.augmentation != "pad-crop":
        yield "pad"
    if recipe.augmentation == "none":
        yield "mirror"


def identity_settings(config: Config) -> dict[str, Any]:
    """The settings in the identity by their dotted keys."""
    return dotted(identity(config))


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            changed[key] = _changed(value, defaults[key])
        elif value != defaults[key]:
            changed[key] = value
    return changed


def literal(value: Any) -> Any:
    """A text, or nested ones, as OmegaConf has to be given them to find no interpolation there."""
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", value)
    return value


def digest(config: Config) -> str:
    """Eight hexadecimal digits that name the identity of a settled configuration."""
    return short_hash(json.dumps(identity(config), sort_keys=True))


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that name a text."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def net_name(config: Config) -> str:
    """The net as the paper writes it: plain-34, ResNet-56, ResNet-34-B."""
    if not config.residual:
        name = f"plain-{config.depth}"
    else:
        name = f"ResNet-{config.depth}"
        if config.shortcut != default_shortcut(config.depth, cast(Family, config.family)):
            name += f"-{config.shortcut}"
        if config.shortcut_padding == "around":
            name += "-around"
    if config.width != 1:
        name += f"-width{config.width:g}"
    if config.block is not None:
        name += f"-{attribute_of(config.block)}"
    return name if config.extends is None else f"{name}-from-{config.extends}"


def shallow_config(config: Config) -> Config:
    """The run whose solution a run with `extends` begins with."""
    assert config.extends is not None
    return dataclasses.replace(config, depth=config.extends, extends=None)


def run_name(config: Config) -> str:
    """The net and the seed, for people."""
    return f"{net_name(config)} seed {config.seed}"


def data_name(config: Config) -> str:
    """The data for people: the data set, or the folder where the images are the user's own."""
    own = config.data.name in OWN_IMAGES and config.data.root is not None
    return (as_text(Path(str(config.data.root)).name) if own else "") or config.data.name


def run_folder(config: Config) -> Path:
    """Where a settled configuration's run lives: the same command, the same folder."""
    name = f"{net_name(config)}-seed{config.seed}-{digest(config)}"
    return Path(config.output_dir) / data_name(config) / name
