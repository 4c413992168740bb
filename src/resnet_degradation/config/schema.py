"""The typed schema of the configuration, into which Hydra merges the YAML files in conf/.

An unknown key or a wrong type fails while the command line is read. Each key is explained in
conf/*.yaml, and --help shows these explanations; comments here give units and choices.
"""

import dataclasses
from dataclasses import Field, dataclass, field
from typing import Any, Optional, Union

from omegaconf import MISSING

from resnet_degradation.config.architectures import FAMILIES

# OmegaConf reads `Optional` and `Union` on every Python version, `X | Y` only on some.
# ruff: noqa: UP007, UP045

# Metadata of settings that are paths: one that exists, several that exist, one to write.
INPUT, INPUTS, OUTPUT = {"path": "input"}, {"path": "inputs"}, {"path": "output"}
DATA_NAMES = ("digits", "cifar10", "cifar100", "folder", "imagenet", "imagenette")

# Data sets that the user supplies, identified by their folder alone.
USER_DATA = ("folder", "imagenet")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
INSPECTIONS = ("responses", "signals", "residuals", "lesions")
MORE_INSPECTIONS = ("surface", "shattering", "sharpness")  # measured only if `what` names them
ERROR_CHOICES = ("both", "training", "held-out")  # which errors a panel of curves shows


@dataclass
class DataConfig:
    """The data set, and the size at which the net sees its images."""

    name: str = MISSING
    loader: Optional[str] = None
    root: Optional[str] = field(default=None, metadata=INPUT)
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

    A duration is a number of iterations, or of epochs, such as "90ep".
    """

    iterations: Union[int, float, str] = 64000  # duration
    batch_size: int = 128  # over all processes
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "milestones"  # or plateau
    milestones: list[Any] = field(default_factory=lambda: [0.5, 0.75])  # fractions, durations
    gamma: float = 0.1  # factor of the learning rate at each milestone or plateau
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

    Only the precision is part of a run's identity. The number of threads, `compile` and, without
    `sync_batchnorm`, the number of `devices` change results slightly too. They are left out so
    that a run can resume on other hardware, but recorded: resuming with other values warns.
    """

    device: str = "auto"  # or cpu, cuda, mps
    devices: Union[int, str] = 1  # number of processes, each with a device; or auto
    sync_batchnorm: bool = False
    max_restarts: int = 0
    timeout: float = 600.0  # seconds
    lock: str = field(default="on", metadata=OUTPUT)  # or off, or a folder
    precision: str = "fp32"  # or tf32, bf16, fp16
    compile: str = "auto"  # or none, net, graphs, step
    checkpoint_activations: str = "auto"  # or on, off
    num_threads: int = 0  # 0: as many as torch chooses
    num_workers: int = 2
    # Intervals: durations, as in RecipeConfig. null: chosen by the length of the run, except that
    # keep_every and signals_every are then off.
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
    # behind: option A appends its zero channels after the others; around: half before, half after.
    # null: as in the weights file, else behind.
    shortcut_padding: Optional[str] = "behind"
    width: float = 1.0  # factor of all numbers of channels
    family: Optional[str] = None
    block: Optional[str] = None
    bottleneck_stride: str = "1x1"  # the convolution of a bottleneck that has the stride; or 3x3
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
    extends: Optional[int] = None  # depth of the trained plain net to start from


@dataclass
class EvaluationConfig(Config):
    """A net, its data, and how it is tested."""

    run: Optional[str] = field(default=None, metadata=INPUT)
    protocol: str = "center"  # or ten-crop, multi-scale, none
    split: Optional[str] = None  # val or test; null: both
    shorter_side: Optional[int] = None  # pixels, for ten-crop
    scales: Optional[list[int]] = None  # shorter sides in pixels, for multi-scale
    export: Optional[str] = field(default=None, metadata=OUTPUT)


@dataclass
class InspectionConfig:
    """Which runs are inspected, and what is measured in them."""

    run: Any = field(default=None, metadata=INPUTS)
    what: Any = field(default_factory=lambda: list(INSPECTIONS))
    images: int = 500  # number of images to measure on
    draws: int = 5  # random sets of blocks to remove, for each size of set
    max_blocks: int = 60  # how many blocks are removed one at a time, at most
    points: int = 11  # of the loss surface, along each of two directions
    jobs: int = 1  # points of the loss surface computed at once
    output_dir: str = field(default="outputs", metadata=OUTPUT)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


@dataclass
class NetConfig:
    """One net of a study; unset fields are taken from the study's shared settings."""

    depth: int = MISSING
    residual: bool = MISSING
    shortcut: Optional[str] = None
    shortcut_padding: Optional[str] = None
    width: Optional[float] = None
    block: Optional[str] = None
    extends: Optional[int] = None


@dataclass
class PanelConfig:
    """One panel of a study's curves: the nets and the errors that it shows."""

    title: str = ""
    residual: Optional[bool] = None  # null: plain and residual nets
    min_depth: int = 0
    max_depth: int = 10**9
    errors: str = "both"  # one of ERROR_CHOICES


@dataclass
class GridConfig:
    """A setting of the runs, by its dotted key, and the values that every net is trained with."""

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
    dashed: bool = False  # training error as dashed lines instead of thin ones
    log: bool = False  # logarithmic error axis
    y_max: Optional[float] = None  # upper end of the error axis, in percent


@dataclass
class StudyRunConfig(Settings):
    """A study, the settings that its runs share, and how they are run."""

    seeds: list[int] = field(default_factory=lambda: [0])
    study: StudyConfig = field(default_factory=StudyConfig)
    jobs: int = 1  # runs at once
    part: Optional[int] = None  # number of the only run to train, from 1
    plan: bool = False  # only print the runs and their estimated times


def schema_fields(schema: type[Any], prefix: str = "") -> dict[str, "Field[Any]"]:
    """Every dotted key of a schema, and its field."""
    found = {}
    for each in dataclasses.fields(schema):
        found[prefix + each.name] = each
        factory = each.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            found |= schema_fields(factory, f"{prefix}{each.name}.")
    return found
