"""The typed schema of the configuration, into which Hydra merges the YAML files in conf/.

An unknown key or a wrong type fails while the command line is read.
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
ERRORS = ("both", "training", "held-out")


@dataclass
class DataConfig:
    """The data set, and the size at which the net sees its images."""

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
    """How a net is trained (sections 3.4 and 4.2)."""

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
    resize: str = "exact"
    colour_std: float = 0.0


@dataclass
class RuntimeConfig:
    """Settings of the computation of a run, such as devices, precision and intervals.

    Only the precision is part of a run's identity. The number of threads, `compile` and, without
    `sync_batchnorm`, the number of `devices` change results slightly too. They are left out so
    that a run can resume on other hardware, but recorded: resuming with other values warns.
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
    keep_every: Optional[Union[int, float, str]] = None
    signals_every: Optional[Union[int, float, str]] = None
    eval_batch_size: int = 500


@dataclass
class Settings:
    """The settings that the runs of a study share."""

    shortcut: Optional[str] = None
    shortcut_padding: Optional[str] = "behind"  # null in YAML: taken from the weights file
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
    """Which runs are inspected, and what is measured in them."""

    run: Any = field(default=None, metadata=INPUTS)
    what: Any = field(default_factory=lambda: list(INSPECTIONS))
    images: int = 500
    draws: int = 5
    max_blocks: int = 60
    points: int = 11
    jobs: int = 1
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
    errors: str = "both"


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
    dashed: bool = False
    log: bool = False
    y_max: Optional[float] = None


@dataclass
class StudyRunConfig(Settings):
    """A study, the settings that its runs share, and how they are run."""

    seeds: list[int] = field(default_factory=lambda: [0])
    study: StudyConfig = field(default_factory=StudyConfig)
    jobs: int = 1
    part: Optional[int] = None
    plan: bool = False


def schema_fields(schema: type[Any], prefix: str = "") -> dict[str, "Field[Any]"]:
    """Every dotted key of a schema, and its field."""
    found = {}
    for each in dataclasses.fields(schema):
        found[prefix + each.name] = each
        factory = each.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            found |= schema_fields(factory, f"{prefix}{each.name}.")
    return found
