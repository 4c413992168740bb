"""The typed schema of the configuration. Hydra merges the YAML files in conf/ into it.

An unknown key or a wrong type is an error as soon as the command line is parsed. conf/*.yaml
explains each key, and --help shows these explanations. Comments here give units and choices.
"""

import dataclasses
from dataclasses import Field, dataclass, field
from typing import Any, Optional, Union

from omegaconf import MISSING

from resnet_degradation.config.architectures import FAMILIES

# OmegaConf supports `Optional` and `Union` on every Python version, but `X | Y` only on some.
# ruff: noqa: UP007, UP045

# Metadata of settings that are paths: an existing path, a list of existing paths, a path to write.
INPUT_PATH, INPUT_PATH_LIST, OUTPUT_PATH = {"path": "input"}, {"path": "inputs"}, {"path": "output"}
DATA_NAMES = ("digits", "cifar10", "cifar100", "folder", "imagenet", "imagenette")

# Data sets that the user supplies. Only their folder identifies them.
USER_DATA_NAMES = ("folder", "imagenet")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
DEFAULT_MEASUREMENTS = ("responses", "signals", "residuals", "lesions")
OPTIONAL_MEASUREMENTS = ("surface", "shattering", "sharpness")  # measured only if `what` names them
ERROR_CHOICES = ("both", "training", "held-out")  # which errors a panel of curves shows


@dataclass
class DataConfig:
    """The data set, and the size of the images that the net gets."""

    name: str = MISSING
    loader: Optional[str] = None
    root: Optional[str] = field(default=None, metadata=INPUT_PATH)
    image_size: int = 32  # side in pixels
    families: list[str] = field(default_factory=lambda: list(FAMILIES))
    validation_fraction: float = 0.0  # of the training images
    mean: Any = "pixel"  # or channel, or RGB values in [0, 1]
    std: Optional[list[float]] = None  # RGB values in (0, 1]
    on_error: str = "raise"  # or skip
    download: bool = True


@dataclass
class RecipeConfig:
    """How a net is trained (sections 3.4 and 4.2).

    A duration is a number of iterations, or a number of epochs such as "90ep".
    """

    iterations: Union[int, float, str] = 64000  # duration
    batch_size: int = 128  # over all processes
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "milestones"  # or plateau
    milestones: list[Any] = field(default_factory=lambda: [0.5, 0.75])  # fractions or durations
    gamma: float = 0.1  # multiplies the learning rate at each milestone or plateau
    plateau_every: Union[int, float, str] = "1ep"  # duration between evaluations
    plateau_patience: int = 5  # evaluations
    plateau_threshold: float = 0.1  # percentage points of held-out error
    warmup: str = "auto"  # or always, never
    warmup_lr: float = 0.01
    warmup_until: float = 80.0  # percent training error
    warmup_window: int = 50  # iterations
    augmentation: str = "pad-crop"  # or scale-jitter, none
    pad: int = 4  # pixels on each side
    mirror: bool = True
    scale: Optional[list[int]] = None  # smallest and largest shorter side, in pixels
    resize: str = "exact"  # or fast
    colour_std: float = 0.0  # along the principal components of RGB


@dataclass
class RuntimeConfig:
    """How a run is executed: devices, precision, workers; how often it logs, evaluates and saves.

    Only the precision is part of a run's identity. The number of threads, `compile` and (without
    `sync_batchnorm`) the number of `devices` change results slightly, too. They are not part of the
    identity, so that a run can resume on other hardware. They are recorded, and a run that resumes
    with other values warns.
    """

    device: str = "auto"  # or cpu, cuda, mps
    devices: Union[int, str] = 1  # number of processes, each with a device; or auto
    sync_batchnorm: bool = False
    max_restarts: int = 0
    timeout: float = 600.0  # seconds
    lock: str = field(default="on", metadata=OUTPUT_PATH)  # or off, or a folder
    precision: str = "fp32"  # or tf32, bf16, fp16
    compile: str = "auto"  # or none, net, graphs, step
    checkpoint_activations: str = "auto"  # or on, off
    num_threads: int = 0  # 0: as many as torch chooses
    num_workers: int = 2
    # Intervals are durations, as in RecipeConfig. null: depends on the length of the run, except
    # that null turns keep_every and signals_every off.
    log_every: Optional[Union[int, float, str]] = None
    eval_every: Optional[Union[int, float, str]] = None
    checkpoint_every: Optional[Union[int, float, str]] = None
    keep_every: Optional[Union[int, float, str]] = None
    signals_every: Optional[Union[int, float, str]] = None
    eval_batch_size: int = 500  # images


@dataclass
class Settings:
    """The settings that the runs of a study share."""

    shortcut: Optional[str] = None  # A, B or C
    # behind: option A puts its zero channels after the others; around: half before, half after.
    # null: as in the weights file, else behind.
    shortcut_padding: Optional[str] = "behind"
    width: float = 1.0  # multiplies every number of channels
    family: Optional[str] = None
    block: Optional[str] = None
    bottleneck_stride: str = "1x1"  # or 3x3: which convolution of a bottleneck has the stride
    output_dir: str = field(default="outputs", metadata=OUTPUT_PATH)
    data: DataConfig = field(default_factory=DataConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass
class Config(Settings):
    """One run: a net, its data and its recipe."""

    depth: int = 20
    residual: bool = True
    seed: int = 0
    weights: Optional[str] = field(default=None, metadata=INPUT_PATH)
    weights_digest: Optional[str] = None
    extends: Optional[int] = None  # depth of the trained plain net to start from


@dataclass
class EvaluationConfig(Config):
    """A net, its data, and how it is tested."""

    run: Optional[str] = field(default=None, metadata=INPUT_PATH)
    protocol: str = "center"  # or ten-crop, multi-scale, none
    split: Optional[str] = None  # val or test; null: both
    shorter_side: Optional[int] = None  # pixels, for ten-crop
    scales: Optional[list[int]] = None  # shorter sides in pixels, for multi-scale
    export: Optional[str] = field(default=None, metadata=OUTPUT_PATH)


@dataclass
class InspectionConfig:
    """Which runs are inspected, and what is measured."""

    run: Any = field(default=None, metadata=INPUT_PATH_LIST)
    what: Any = field(default_factory=lambda: list(DEFAULT_MEASUREMENTS))
    images: int = 500  # number of images to measure on
    draws: int = 5  # number of random sets of blocks to remove, for each size of the set
    max_blocks: int = 60  # maximum number of blocks that are removed one at a time
    points: int = 11  # number of points of the loss surface, along each of two directions
    jobs: int = 1  # number of points of the loss surface to compute at once
    output_dir: str = field(default="outputs", metadata=OUTPUT_PATH)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass
class NetConfig:
    """One net of a study. Unset fields get the study's shared settings."""

    depth: int = MISSING
    residual: bool = MISSING
    shortcut: Optional[str] = None
    shortcut_padding: Optional[str] = None
    width: Optional[float] = None
    block: Optional[str] = None
    extends: Optional[int] = None


@dataclass
class PanelConfig:
    """Which nets and which errors one panel of a study's curves shows."""

    title: str = ""
    residual: Optional[bool] = None  # null: plain and residual nets
    min_depth: int = 0
    max_depth: int = 10**9
    errors: str = "both"  # one of ERROR_CHOICES


@dataclass
class GridConfig:
    """A setting's dotted key, and the values of it that every net is trained with."""

    key: str = MISSING
    values: list[Any] = field(default_factory=list)


@dataclass
class StudyConfig:
    """The nets of a study and its figures."""

    name: str = MISSING
    title: str = ""
    nets: list[NetConfig] = field(default_factory=list)
    grid: list[GridConfig] = field(default_factory=list)
    figures: list[str] = field(default_factory=lambda: ["curves"])
    panels: list[PanelConfig] = field(
        default_factory=lambda: [
            PanelConfig("plain nets", residual=False),
            PanelConfig("residual nets", residual=True),
        ]
    )
    dashed: bool = False  # draw the training error as dashed lines instead of thin ones
    log: bool = False  # logarithmic error axis
    y_max: Optional[float] = None  # upper end of the error axis, in percent


@dataclass
class StudyRunConfig(Settings):
    """A study, the settings that its runs share, and how the runs are executed."""

    seeds: list[int] = field(default_factory=lambda: [0])
    study: StudyConfig = field(default_factory=StudyConfig)
    jobs: int = 1  # number of runs to train at once
    part: Optional[int] = None  # train only the run with this number, counted from 1
    plan: bool = False  # only print the runs and their estimated times


def schema_fields(schema: type[Any], prefix: str = "") -> dict[str, "Field[Any]"]:
    """Return the fields of a schema, keyed by dotted key."""
    fields = {}
    for item in dataclasses.fields(schema):
        fields[prefix + item.name] = item
        factory = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            fields |= schema_fields(factory, f"{prefix}{item.name}.")
    return fields
