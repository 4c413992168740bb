"""The options of `resnet-eval`: the net, the images, and the protocol of the test."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from resnet_degradation.config.identity import digest, flatten_dict
from resnet_degradation.config.resolve import expand_home, resolve
from resnet_degradation.config.schema import Config, EvaluationConfig
from resnet_degradation.config.validate import (
    MAX_IMAGE_SIZE,
    check_evaluation_runtime,
    check_shortcut_padding,
)
from resnet_degradation.nets.build import use_shortcut_of_weights
from resnet_degradation.records.run_folder import find_runs
from resnet_degradation.system.errors import ConfigError
from resnet_degradation.system.process import describe_process_variables, read_process_info
from resnet_degradation.training.load_run import load_run_config

PROTOCOLS = ("center", "ten-crop", "multi-scale", "none")

# Section 3.4 of the paper: the shorter sides of images for nets trained on crops of 224 pixels.
SCALES = (224, 256, 384, 480, 640)
SCALES_CROP = 224

# Settings that an evaluation may change from the run's values.
CHANGEABLE_KEYS = (
    *("run", "weights", "protocol", "split", "shorter_side", "scales", "export", "output_dir"),
    *("data.root", "runtime"),
)


@dataclass(frozen=True)
class Evaluation:
    """Which net to test, from a run or a weights file, and how to test it."""

    config: Config  # the resolved configuration of the net, its data and its recipe
    run: Path | None  # the run folder; None for a weights file
    protocol: str  # one of PROTOCOLS
    split: str | None  # "val" or "test"; None for all held-out splits
    shorter_side: int
    scales: tuple[int, ...]
    export: Path | None
    output_dir: Path | None = None  # parent folder of a run's record; None for the run folder

    def record_file(self) -> Path:
        """The path of the JSON record."""
        sizes = [self.shorter_side, *self.scales] if self.has_custom_sizes() else []
        parts = [self.protocol, *([self.split] if self.split else []), *map(str, sizes)]
        if self.run is None:
            net = f"{Path(str(self.config.weights)).stem}-{digest(self.config)}"
            folder = Path(self.config.output_dir) / "evaluations" / net
        elif self.output_dir is None:
            folder = self.run / "evaluations"
        else:
            folder = self.output_dir / "evaluations" / self.run.resolve().name
        return folder / f"{'-'.join(parts)}.json"

    def has_custom_sizes(self) -> bool:
        """Whether the image sizes differ from the protocol's defaults."""
        defaults = (default_shorter_side(self.config), default_scales(self.config))
        return (self.shorter_side, self.scales) != defaults


def default_shorter_side(config: Config) -> int:
    """The shorter side of an image before cropping: 256 pixels for crops of 224."""
    return config.recipe.scale[0] if config.recipe.scale else config.data.image_size


def default_scales(config: Config) -> tuple[int, ...]:
    """The scales of multi-scale testing: SCALES, in proportion to the crop size."""
    return tuple(round(config.data.image_size * side / SCALES_CROP) for side in SCALES)


def resolve_evaluation(composed: DictConfig, overrides: Sequence[str]) -> Evaluation:
    """Make an Evaluation from a composed configuration and the overrides of the command line.

    With run=, the net and the data come from the run's configuration. Raises ConfigError if an
    override contradicts it or is not valid, and UserError if the folder holds no run.
    """
    options = OmegaConf.to_object(composed)
    assert isinstance(options, EvaluationConfig)
    _check_options(options)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    given_keys = [override.key_or_group for override in parsed]
    if options.run is not None:
        config = _load_run_config(options, Path(options.run), given_keys)
    else:
        settings = {field.name: getattr(options, field.name) for field in fields(Config)}
        unresolved = use_shortcut_of_weights(Config(**settings))
        config = resolve(unresolved)
        check_shortcut_padding(unresolved, config)
    evaluation = Evaluation(
        config=config,
        run=None if options.run is None else Path(options.run),
        protocol=options.protocol,
        split=options.split,
        shorter_side=(
            default_shorter_side(config) if options.shorter_side is None else options.shorter_side
        ),
        scales=default_scales(config) if options.scales is None else tuple(options.scales),
        export=None if options.export is None else Path(expand_home(options.export)),
        output_dir=Path(options.output_dir) if "output_dir" in given_keys else None,
    )
    _check_sizes(options, evaluation)
    return evaluation


def _check_options(options: EvaluationConfig) -> None:
    protocol = options.protocol
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol={protocol} is not valid: choose {', '.join(PROTOCOLS)}")
    if protocol == "none" and options.export is None:
        raise ConfigError("protocol=none tests nothing: add export=FILE, or choose a protocol")
    check_evaluation_runtime("resnet-eval", options.runtime)
    if read_process_info() is not None:
        raise ConfigError(
            "resnet-eval runs in one process: start it without torchrun and srun, or unset "
            f"their variables ({describe_process_variables()})"
        )
    if options.run is not None and options.weights is not None:
        raise ConfigError("run and weights both name a net: set only one of them")
    if options.run is None and options.weights is None:
        raise ConfigError(
            "no net to evaluate: set run=FOLDER, or weights=FILE with its depth, residual, "
            "shortcut and data"
        )


def _load_run_config(options: EvaluationConfig, folder: Path, given_keys: list[str]) -> Config:
    """Load the configuration of a run; raise ConfigError if an override contradicts it.

    given_keys: the keys and groups that the command line overrides.
    """
    runs = find_runs(folder)
    if folder.resolve() not in [run.resolve() for run in runs]:
        names = ", ".join(str(run) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        count = "1 run, whose folder is" if len(runs) == 1 else f"{len(runs)} runs, such as"
        raise ConfigError(
            f"run={folder} holds {count} {names}: name one, or several with -m run=FOLDER,FOLDER"
        )
    root = options.data.root if "data.root" in given_keys else None
    config = load_run_config(folder, options.runtime, root)
    trained, requested = flatten_dict(asdict(config)), flatten_dict(asdict(options))
    for override in given_keys:
        for key in requested:
            is_changeable = any(_belongs_to(key, group) for group in CHANGEABLE_KEYS)
            if is_changeable or not _belongs_to(key, override):
                continue
            value = requested[key]
            if trained[key] != value and not _is_equivalent_value(config, key, value):
                group = "" if override == key else f"{override}= sets "
                given_value, trained_value = (
                    value if isinstance(value, str) else json.dumps(value)
                    for value in (requested[key], trained[key])
                )
                raise ConfigError(
                    f"{group}{key}={given_value}, but run={folder} was trained with "
                    f"{key}={trained_value}: omit {override}, or use weights=FILE instead of run"
                )
    return config


def _belongs_to(key: str, group: str) -> bool:
    """Whether `key` is `group` itself or one of its settings, such as data.root of data."""
    return f"{key}.".startswith(f"{group}.")


def _is_equivalent_value(config: Config, key: str, value: Any) -> bool:
    """Whether the value, such as a number of epochs, resolves to the same setting as the run's."""
    # Without weights, because their file may no longer exist.
    base = replace(config, weights=None, weights_digest=None)
    group, _, name = key.rpartition(".")
    changed: Any = {name: value}
    if group:
        changed = {group: replace(getattr(base, group), **changed)}
    try:
        return resolve(replace(base, **changed)) == base
    except ConfigError:
        return False


def _check_sizes(options: EvaluationConfig, evaluation: Evaluation) -> None:
    config, size = evaluation.config, evaluation.config.data.image_size
    for key, protocol in (("shorter_side", "ten-crop"), ("scales", "multi-scale")):
        if getattr(options, key) is not None and options.protocol != protocol:
            raise ConfigError(f"{key} applies only to protocol={protocol}: omit it")
    if options.shorter_side is not None and config.recipe.augmentation != "scale-jitter":
        raise ConfigError(
            "shorter_side applies only to images that are streamed from files "
            "(recipe.augmentation=scale-jitter): omit it"
        )
    side, scales = evaluation.shorter_side, evaluation.scales
    if not size <= side <= MAX_IMAGE_SIZE:
        raise ConfigError(
            f"shorter_side={side} is not valid: it must be from {size} to {MAX_IMAGE_SIZE}"
        )
    if not scales or min(scales) < size or max(scales) > MAX_IMAGE_SIZE:
        raise ConfigError(
            f"scales={list(scales)} is not valid: each must be from {size} (the size of the "
            f"training images) to {MAX_IMAGE_SIZE}"
        )
