"""The options of `resnet-eval`: which net, which images, which views of them."""

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

# Section 3.4: shorter sides of whole images, for nets trained on crops of 224.
SCALES = (224, 256, 384, 480, 640)
SCALES_CROP = 224

# Keys that may differ from those of the run.
FREE_KEYS = (
    *("run", "weights", "protocol", "split", "shorter_side", "scales", "export", "output_dir"),
    *("data.root", "runtime"),
)


@dataclass(frozen=True)
class Evaluation:
    """A net, from a run or a file of weights, and how it is tested."""

    config: Config  # resolved: the net, its data, its recipe
    run: Path | None  # the run folder; None with a file of weights
    protocol: str  # one of PROTOCOLS
    split: str | None  # one of the held-out splits; None: all
    shorter_side: int
    scales: tuple[int, ...]
    export: Path | None
    output_dir: Path | None = None  # where the record of a run is written; None: in its folder

    def record(self) -> Path:
        """The JSON file of the result."""
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
        """Whether the sizes of views differ from the protocol's defaults."""
        default = (default_shorter_side(self.config), default_scales(self.config))
        return (self.shorter_side, self.scales) != default


def default_shorter_side(config: Config) -> int:
    """The shorter side of images before crops are cut: 256 for crops of 224."""
    return config.recipe.scale[0] if config.recipe.scale else config.data.image_size


def default_scales(config: Config) -> tuple[int, ...]:
    """The scales of multi-scale testing: SCALES, multiplied by the size of the crops over 224."""
    return tuple(round(config.data.image_size * side / SCALES_CROP) for side in SCALES)


def resolve_evaluation(composed: DictConfig, overrides: Sequence[str]) -> Evaluation:
    """The evaluation that a composed configuration and the command line's overrides describe.

    A run's net and data are those of its own configuration; an override must not contradict it.
    Raises ConfigError, or UserError for a folder without a run.
    """
    options = OmegaConf.to_object(composed)
    assert isinstance(options, EvaluationConfig)
    _check_options(options)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    given = [override.key_or_group for override in parsed]
    if options.run is not None:
        config = _config_of_run(options, Path(options.run), given)
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
        output_dir=Path(options.output_dir) if "output_dir" in given else None,
    )
    _check_sizes(options, evaluation)
    return evaluation


def _check_options(options: EvaluationConfig) -> None:
    protocol = options.protocol
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol={protocol} is not valid: choose {', '.join(PROTOCOLS)}")
    if protocol == "none" and options.export is None:
        raise ConfigError("protocol=none tests nothing: use it with export=FILE")
    check_evaluation_runtime("resnet-eval", options.runtime)
    if read_process_info() is not None:
        raise ConfigError(
            "resnet-eval runs in one process: start it without torchrun and srun, or unset "
            f"their variables ({describe_process_variables()})"
        )
    if options.run is not None and options.weights is not None:
        raise ConfigError("run and weights both name a net: set one of them, not both")
    if options.run is None and options.weights is None:
        raise ConfigError(
            "name what to evaluate: run=FOLDER of a run, or weights=FILE with its depth, "
            "residual, shortcut and data"
        )


def _config_of_run(options: EvaluationConfig, folder: Path, given: list[str]) -> Config:
    """The configuration of a run; raises ConfigError if a given key or group contradicts it."""
    runs = find_runs(folder)
    if folder.resolve() not in [run.resolve() for run in runs]:
        names = ", ".join(str(run) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        count = "1 run, whose folder is" if len(runs) == 1 else f"{len(runs)} runs, such as"
        raise ConfigError(
            f"run={folder} holds {count} {names}: name one, or several with -m run=FOLDER,FOLDER"
        )
    root = options.data.root if "data.root" in given else None
    config = load_run_config(folder, options.runtime, root)
    trained, asked = flatten_dict(asdict(config)), flatten_dict(asdict(options))
    for override in given:
        for key in asked:
            if not _is_in(key, override) or any(_is_in(key, free) for free in FREE_KEYS):
                continue
            if trained[key] != asked[key] and not _is_equivalent(config, key, asked[key]):
                group = "" if override == key else f"{override}= sets "
                given_value, trained_value = (
                    value if isinstance(value, str) else json.dumps(value)
                    for value in (asked[key], trained[key])
                )
                raise ConfigError(
                    f"{group}{key}={given_value}, but run={folder} was trained with "
                    f"{key}={trained_value}: omit {override}, or use weights=FILE instead of run"
                )
    return config


def _is_in(key: str, group: str) -> bool:
    """Whether a dotted key is this key, or in this group."""
    return f"{key}.".startswith(f"{group}.")


def _is_equivalent(config: Config, key: str, value: Any) -> bool:
    """Whether this value (such as a number of epochs) resolves to the run's setting."""
    # The weights file may no longer exist.
    without_weights = replace(config, weights=None, weights_digest=None)
    group, _, name = key.rpartition(".")
    changed: Any = {name: value}
    if group:
        changed = {group: replace(getattr(without_weights, group), **changed)}
    try:
        return resolve(replace(without_weights, **changed)) == without_weights
    except ConfigError:
        return False


def _check_sizes(options: EvaluationConfig, evaluation: Evaluation) -> None:
    config, size = evaluation.config, evaluation.config.data.image_size
    for key, protocol in (("shorter_side", "ten-crop"), ("scales", "multi-scale")):
        if getattr(options, key) is not None and options.protocol != protocol:
            raise ConfigError(f"{key} belongs to protocol={protocol}: omit it")
    if options.shorter_side is not None and config.recipe.augmentation != "scale-jitter":
        raise ConfigError(
            "shorter_side belongs to images that are streamed from files "
            "(recipe.augmentation=scale-jitter): omit it"
        )
    side, scales = evaluation.shorter_side, evaluation.scales
    if not size <= side <= MAX_IMAGE_SIZE:
        raise ConfigError(
            f"shorter_side={side} is not valid: it must be {size} to {MAX_IMAGE_SIZE}"
        )
    if not scales or min(scales) < size or max(scales) > MAX_IMAGE_SIZE:
        raise ConfigError(
            f"scales={list(scales)} is not valid: shorter sides must be {size} (the size "
            f"of the training images) to {MAX_IMAGE_SIZE}"
        )
