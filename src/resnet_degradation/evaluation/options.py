"""What `resnet-eval` is asked for: which net, which images, which views of them."""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from resnet_degradation.config.identity import digest, dotted
from resnet_degradation.config.resolve import expand_home, resolve
from resnet_degradation.config.schema import Config, EvaluationConfig
from resnet_degradation.config.validate import LARGEST_IMAGE, check_padding
from resnet_degradation.nets.build import with_shortcuts_of_weights
from resnet_degradation.records.run_folder import find_runs
from resnet_degradation.system.errors import ConfigError, RecordError
from resnet_degradation.system.process import one_of_several, process_info
from resnet_degradation.training.load_run import config_of_run

PROTOCOLS = ("center", "ten-crop", "multi-scale", "none")

# Section 3.4: shorter sides of whole images, for nets trained on crops of 224.
SCALES = (224, 256, 384, 480, 640)
SCALES_CROP = 224

# What is the evaluation's own, whatever run is evaluated.
OF_EVALUATION = (
    *("run", "weights", "protocol", "split", "shorter_side", "scales", "export", "output_dir"),
    *("data.root", "runtime"),
)


@dataclass(frozen=True)
class Evaluation:
    """A net, by its run or by a file of weights, and how it is tested."""

    config: Config  # settled: the net, its data, what it was trained by
    run: Path | None  # the folder of the run, unless weights are given
    protocol: str  # one of PROTOCOLS
    split: str | None  # of the held-out images; None: all
    shorter_side: int
    scales: tuple[int, ...]
    export: Path | None
    output_dir: Path | None = None  # where the record of a run goes, if not into its folder

    def record(self) -> Path:
        """The JSON file that the result is written to."""
        own = [self.shorter_side, *self.scales] if self.is_unusual() else []
        name = "-".join([self.protocol, *([self.split] if self.split else []), *map(str, own)])
        if self.run is None:
            net = f"{Path(str(self.config.weights)).stem}-{digest(self.config)}"
            folder = Path(self.config.output_dir) / "evaluations" / net
        elif self.output_dir is None:
            folder = self.run / "evaluations"
        else:
            folder = self.output_dir / "evaluations" / self.run.resolve().name
        return folder / f"{name}.json"

    def make_folder(self) -> None:
        """Make the folder of the record; raises RecordError if nothing can be written there."""
        folder = self.record().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            problem = None if os.access(folder, os.W_OK) else "it is read-only"
        except OSError as error:
            problem = error.strerror
        if problem is not None:
            raise RecordError(
                f"the record of this evaluation cannot be written to {folder} ({problem}): name "
                "another folder with output_dir=FOLDER"
            )

    def is_unusual(self) -> bool:
        """Whether sizes were given that are not the protocol's."""
        usual = (usual_shorter_side(self.config), usual_scales(self.config))
        return (self.shorter_side, self.scales) != usual


def usual_shorter_side(config: Config) -> int:
    """The shorter side that images are brought to before crops are cut: 256 for crops of 224."""
    return config.recipe.scale[0] if config.recipe.scale else config.data.image_size


def usual_scales(config: Config) -> tuple[int, ...]:
    """The scales of multi-scale testing, in proportion to those for crops of 224."""
    return tuple(round(config.data.image_size * side / SCALES_CROP) for side in SCALES)


def resolve_evaluation(composed: DictConfig, overrides: Sequence[str]) -> Evaluation:
    """The evaluation that a composed configuration asks for.

    overrides: those of the command line. Where a run is named, its own configuration says what the
    net and its data are, and an override that contradicts it is refused.

    Raises ConfigError, or UserError for a folder that holds no run.
    """
    asked = OmegaConf.to_object(composed)
    assert isinstance(asked, EvaluationConfig)
    if asked.protocol not in PROTOCOLS:
        raise ConfigError(f"protocol={asked.protocol} is not valid: choose {', '.join(PROTOCOLS)}")
    if asked.protocol == "none" and asked.export is None:
        raise ConfigError("protocol=none tests nothing: it is for export=FILE")
    if asked.runtime.devices not in (1, "auto"):
        raise ConfigError("resnet-eval runs in one process: omit runtime.devices")
    if process_info() is not None:
        raise ConfigError(
            "resnet-eval runs in one process: start it without torchrun and srun, or unset what "
            f"they set ({one_of_several()})"
        )
    if asked.runtime.precision != "fp32":
        raise ConfigError("resnet-eval computes in fp32: omit runtime.precision")
    if asked.run is not None and asked.weights is not None:
        raise ConfigError("run and weights both name a net: give one of them")
    if asked.run is None and asked.weights is None:
        raise ConfigError(
            "name what to evaluate: run=FOLDER of a run, or weights=FILE with the net that they "
            "are of (depth, residual, shortcut) and data="
        )
    given = given_keys(overrides)
    if asked.run is not None:
        config = _of_run(asked, Path(asked.run), given)
    else:
        own = {field.name: getattr(asked, field.name) for field in dataclasses.fields(Config)}
        with_shortcuts = with_shortcuts_of_weights(Config(**own))
        config = resolve(with_shortcuts)
        check_padding(with_shortcuts, config)
    shorter_side = usual_shorter_side(config) if asked.shorter_side is None else asked.shorter_side
    scales = usual_scales(config) if asked.scales is None else tuple(asked.scales)
    _check_sizes(asked, config, shorter_side, scales)
    return Evaluation(
        config=config,
        run=None if asked.run is None else Path(asked.run),
        protocol=asked.protocol,
        split=asked.split,
        shorter_side=shorter_side,
        scales=scales,
        export=None if asked.export is None else Path(expand_home(asked.export)),
        output_dir=Path(asked.output_dir) if "output_dir" in given else None,
    )


def given_keys(overrides: Sequence[str]) -> list[str]:
    """The keys and groups that overrides set."""
    parser = OverridesParser.create()
    return [override.key_or_group for override in parser.parse_overrides(list(overrides))]


def _of_run(asked: EvaluationConfig, folder: Path, given: list[str]) -> Config:
    runs = find_runs(folder)
    if folder.resolve() not in [run.resolve() for run in runs]:
        names = ", ".join(str(run) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        count = "1 run, whose folder is" if len(runs) == 1 else f"{len(runs)} runs, such as"
        raise ConfigError(
            f"run={folder} holds {count} {names}: name one, or several with -m run=FOLDER,FOLDER"
        )
    root = asked.data.root if "data.root" in given else None
    config = config_of_run(folder, asked.runtime, root)
    _check_agreement(asked, config, folder, given)
    return config


def _check_agreement(
    asked: EvaluationConfig, config: Config, folder: Path, given: list[str]
) -> None:
    """Raise ConfigError if a given setting, or one of a given group, is not that of the run."""
    own, wanted = dotted(dataclasses.asdict(config)), dotted(dataclasses.asdict(asked))
    for by in given:
        for key in (key for key in wanted if f"{key}.".startswith(f"{by}.")):
            if any(f"{key}.".startswith(f"{free}.") for free in OF_EVALUATION):
                continue
            if not _agrees(config, key, wanted[key]):
                group = "" if by == key else f"{by}= sets "
                raise ConfigError(
                    f"{group}{key}={_written(wanted[key])}, but run={folder} was trained with "
                    f"{key}={_written(own[key])}: omit {by}, or give weights=FILE instead of run"
                )


def _agrees(config: Config, key: str, value: Any) -> bool:
    """Whether a run has this setting, perhaps written in another way."""
    if dotted(dataclasses.asdict(config))[key] == value:
        return True
    bare = replace(config, weights=None, weights_digest=None)  # the file may be gone
    group, _, name = key.rpartition(".")
    changed: Any = {name: value}
    if group:
        changed = {group: replace(getattr(bare, group), **changed)}
    try:
        return resolve(replace(bare, **changed)) == bare
    except ConfigError:
        return False


def _written(value: Any) -> str:
    """A value as it is given on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _check_sizes(
    asked: EvaluationConfig, config: Config, shorter_side: int, scales: tuple[int, ...]
) -> None:
    size = config.data.image_size
    for key, protocol in (("shorter_side", "ten-crop"), ("scales", "multi-scale")):
        if getattr(asked, key) is not None and asked.protocol != protocol:
            raise ConfigError(f"{key} belongs to protocol={protocol}: omit it")
    if asked.shorter_side is not None and config.recipe.augmentation != "scale-jitter":
        raise ConfigError(
            "shorter_side belongs to images that are streamed from files "
            "(recipe.augmentation=scale-jitter): omit it"
        )
    if not size <= shorter_side <= LARGEST_IMAGE:
        raise ConfigError(
            f"shorter_side={shorter_side} is not valid: give {size}, as the crops, to "
            f"{LARGEST_IMAGE}"
        )
    if not scales or min(scales) < size or max(scales) > LARGEST_IMAGE:
        raise ConfigError(
            f"scales={list(scales)} is not valid: give shorter sides, none below the {size} that "
            f"the net was trained on, nor above {LARGEST_IMAGE}"
        )
