"""Defines a study: its runs, its figures and its folder."""

import copy
import dataclasses
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_degradation.config.custom_code import attribute_name, check_custom_name, is_custom
from resnet_degradation.config.identity import (
    data_name,
    digest,
    distinct_run_names,
    net_name,
    run_folder,
    short_hash,
)
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import (
    ERROR_CHOICES,
    Config,
    GridConfig,
    Settings,
    StudyConfig,
    StudyRunConfig,
    schema_fields,
)
from resnet_degradation.figures.drawing import Drawing, panel_shows
from resnet_degradation.figures.registry import FIGURES
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.atomic_files import write_json
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class Study:
    """A named set of resolved runs, the figures that show them, and the folder of these figures."""

    name: str
    runs: list[Config]
    figures: list[str]
    drawing: Drawing
    folder: Path
    grid: list[str] = field(default_factory=list)  # dotted keys of the settings that vary

    def unfinished_runs(self) -> list[Config]:
        """The runs that are still to be trained or resumed."""
        return [run for run in self.runs if not is_finished(run_folder(run))]

    @cached_property
    def run_names(self) -> dict[Path, str]:
        """A unique name for each run, keyed by run folder."""
        folders = [run_folder(run) for run in self.runs]
        return dict(zip(folders, distinct_run_names(self.runs), strict=True))

    def unique_name(self, run: Config) -> str:
        """The unique name of a run."""
        return self.run_names[run_folder(run)]


def resolve_study(composed: DictConfig, base_config: DictConfig | None = None) -> Study:
    """Make a study from a composed configuration: a run for each net, seed and grid point.

    base_config: the configuration without overrides. If the overrides change runs or figures, the
    study gets its own folder, so that it does not overwrite the figures of the original study.

    Raises ConfigError if a setting is not valid.
    """
    config = cast(StudyRunConfig, OmegaConf.to_object(composed))
    study, runs = config.study, _make_runs(composed)
    _check_study(config, runs)
    name = study.name
    if base_config is not None:
        original = cast(StudyRunConfig, OmegaConf.to_object(base_config)).study
        study_hash = _hash_study(study, runs)
        if original.name == name and study_hash != _hash_study(original, _make_runs(base_config)):
            name = f"{name}-{data_name(runs[0])}-{study_hash}"
        if study.nets != original.nets and study.title == original.title:
            study.title = ""  # the title describes the original nets
    folder = Path(config.output_dir) / "studies" / name
    varied_keys = [axis.key for axis in study.grid]
    return Study(study.name, runs, study.figures, _make_drawing(study), folder, varied_keys)


def _make_runs(composed: DictConfig) -> list[Config]:
    """Make a run for each net, seed and grid point, grouped by seed."""
    config = cast(StudyRunConfig, OmegaConf.to_object(composed))
    if not config.study.nets or not config.seeds:
        raise ConfigError("study.nets and seeds need at least one entry each")
    runs = []
    points = _grid_points(config.study.grid)
    settings_per_point = [_settings_at_point(composed, point) for point in points]
    for seed in config.seeds:
        for net in config.study.nets:
            net_settings = {key: value for key, value in vars(net).items() if value is not None}
            for settings in settings_per_point:
                runs.append(resolve(Config(**(settings | net_settings | {"seed": seed}))))
    folder, count = Counter(map(run_folder, runs)).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"study.nets, seeds or study.grid name the same run twice: {folder.name}")
    return runs


def _grid_points(grid: list[GridConfig]) -> list[dict[str, Any]]:
    """The points of a grid: every combination of values, each a dictionary with dotted keys."""
    prefixes = ("recipe.", "data.", "runtime.precision")
    keys = [key for key in schema_fields(Settings) if key.startswith(prefixes)]
    for axis in grid:
        if axis.key not in keys:
            raise ConfigError(
                f"study.grid: {axis.key} cannot vary: choose a setting under recipe or data, or "
                "runtime.precision (settings of nets belong in study.nets)"
            )
        if not axis.values or any(isinstance(value, list | dict) for value in axis.values):
            raise ConfigError(
                f"study.grid: {axis.key} needs a list of values, each a number or a word"
            )
    keys = [axis.key for axis in grid]
    return [dict(zip(keys, values, strict=True)) for values in product(*(a.values for a in grid))]


def _settings_at_point(composed: DictConfig, point: dict[str, Any]) -> dict[str, Any]:
    """The settings of all runs at a grid point; raises ConfigError if they are not valid."""
    changed = copy.deepcopy(composed)
    names = [field.name for field in dataclasses.fields(Settings)]
    for key, value in point.items():
        try:
            OmegaConf.update(changed, key, value)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"study.grid: {key}={value} is not valid: {reason}") from error
    config = OmegaConf.to_object(changed)
    return {name: getattr(config, name) for name in names}


def _make_drawing(study: StudyConfig) -> Drawing:
    return Drawing(study.title, study.panels, dashed=study.dashed, log=study.log, y_max=study.y_max)


def _check_study(config: StudyRunConfig, runs: list[Config]) -> None:
    name = config.study.name
    if Path(name).name != name or name in ("", ".."):
        raise ConfigError(
            f"study.name={name} is not valid: use a plain name, without path separators"
        )
    _check_drawing(config.study, runs)
    if config.jobs < 1:
        raise ConfigError(f"jobs={config.jobs} is not valid: it must be at least 1")
    if config.jobs > 1 and config.runtime.devices != 1:
        raise ConfigError(
            f"jobs={config.jobs} does not work with runtime.devices={config.runtime.devices}: "
            "parallel runs have one device each, so set only one of the two"
        )
    if config.part is not None and not 1 <= config.part <= len(runs):
        raise ConfigError(
            f"part={config.part} is not valid: it must be from 1 to {len(runs)} "
            "(plan=true lists the parts)"
        )


def _check_drawing(study: StudyConfig, runs: list[Config]) -> None:
    if not study.figures or not study.panels:
        raise ConfigError("study.figures and study.panels need at least one entry each")
    for figure in study.figures:
        if is_custom(figure):
            check_custom_name(figure, "study.figures")
        elif figure not in FIGURES:
            raise ConfigError(
                f"study.figures={study.figures} is not valid: choose {', '.join(FIGURES)}, or a "
                "custom function, such as my_code:draw"
            )
    if "grid" in study.figures and len(study.grid) != 1:
        raise ConfigError("study.figures=[grid] needs exactly one setting in study.grid")
    if len(set(map(attribute_name, study.figures))) < len(study.figures):
        raise ConfigError(f"study.figures={study.figures}: two figures have the same name")
    for panel in study.panels:
        if panel.errors not in ERROR_CHOICES:
            raise ConfigError(
                f"study.panels: errors={panel.errors} is not valid: choose "
                f"{', '.join(ERROR_CHOICES)}"
            )
    for run in runs:
        if not any(panel_shows(panel, run) for panel in study.panels):
            raise ConfigError(
                f"no panel in study.panels shows {net_name(run)}: change residual, min_depth or "
                "max_depth of a panel, or remove this net from study.nets"
            )
    if study.y_max is not None and not 0 < study.y_max <= 100:
        raise ConfigError(f"study.y_max={study.y_max} must be above 0 and at most 100 (percent)")


def _hash_study(study: StudyConfig, runs: list[Config]) -> str:
    """A short hash of a study's runs, figures and drawing settings."""
    parts = [[digest(run) for run in runs], study.figures, _make_drawing(study).study_settings()]
    return short_hash(json.dumps(parts))


def write_index(study: Study, verdicts: list[str]) -> None:
    """Write study.json: the runs and figures of a study, and the verdicts of its report."""
    index = {
        "study": study.name,
        "runs": [os.path.relpath(run_folder(run), study.folder) for run in study.runs],
        "figures": study.figures,
        "drawing": study.drawing.study_settings(),
        "verdicts": verdicts,
    }
    study.folder.mkdir(parents=True, exist_ok=True)
    write_json(study.folder / "study.json", index)
