"""Which runs make a figure, and in which folder the figure belongs."""

import dataclasses
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from resnet_degradation.config.custom_code import attribute_of, check_custom_name, is_custom
from resnet_degradation.config.identity import data_name, digest, net_name, run_folder, short_hash
from resnet_degradation.config.naming import distinct_run_names
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import ERRORS, Config, Settings, StudyConfig, StudyRunConfig
from resnet_degradation.figures.drawing import Drawing, shows
from resnet_degradation.figures.registry import FIGURES
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.errors import ConfigError


@dataclass(frozen=True)
class Study:
    """A named set of settled runs, what is drawn of them, and the folder for that."""

    name: str
    runs: list[Config]
    figures: list[str]
    drawing: Drawing
    folder: Path

    def pending(self) -> list[Config]:
        """The runs that are not finished."""
        return [run for run in self.runs if not is_finished(run_folder(run))]

    @cached_property
    def run_names(self) -> dict[Path, str]:
        """A name for each run, by its folder, that no other run of the study has."""
        folders = [run_folder(run) for run in self.runs]
        return dict(zip(folders, distinct_run_names(self.runs), strict=True))

    def name_of(self, run: Config) -> str:
        """The name of one of its runs."""
        return self.run_names[run_folder(run)]

    def is_single_seed(self) -> bool:
        """Whether there is no spread over seeds to tell."""
        return len({run.seed for run in self.runs}) == 1


def resolve_study(composed: DictConfig, as_filed: DictConfig | None = None) -> Study:
    """The study that a composed configuration names: every net with every seed.

    as_filed: the same study as its file has it. One with other runs, or drawn otherwise, because
    settings were overridden, gets a folder of its own, so that no figure takes another's place.

    Raises ConfigError for whatever cannot be run or drawn.
    """
    config = _typed(composed)
    study, runs = config.study, _runs(config)
    _check_study(config, runs)
    name = study.name
    if as_filed is not None:
        filed = _typed(as_filed)
        own = _digest(study, runs)
        if filed.study.name == name and own != _digest(filed.study, _runs(filed)):
            name = f"{name}-{data_name(runs[0])}-{own}"
        if study.nets != filed.study.nets and study.title == filed.study.title:
            study.title = ""  # it speaks of other nets
    folder = Path(config.output_dir) / "studies" / name
    return Study(study.name, runs, study.figures, _drawing(study), folder)


def _typed(composed: DictConfig) -> StudyRunConfig:
    config = OmegaConf.to_object(composed)
    assert isinstance(config, StudyRunConfig)
    return config


def _runs(config: StudyRunConfig) -> list[Config]:
    """Every net with every seed, all nets of one seed before the next."""
    if not config.study.nets or not config.seeds:
        raise ConfigError("study.nets and seeds need at least one entry each")
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Settings)}
    runs = []
    for seed in config.seeds:
        for net in config.study.nets:
            own: dict[str, Any] = {"depth": net.depth, "residual": net.residual, "seed": seed}
            keys = ("shortcut", "shortcut_padding", "width", "block", "extends")
            given = {key: getattr(net, key) for key in keys}
            own |= {key: value for key, value in given.items() if value is not None}
            runs.append(resolve(Config(**(shared | own))))
    folders = [run_folder(run) for run in runs]
    if len(set(folders)) < len(folders):
        repeated = next(folder for folder in folders if folders.count(folder) > 1)
        raise ConfigError(f"study.nets or seeds name the same run twice: {repeated.name}")
    return runs


def _drawing(study: StudyConfig) -> Drawing:
    return Drawing(study.title, study.panels, dashed=study.dashed, y_max=study.y_max)


def _check_study(config: StudyRunConfig, runs: list[Config]) -> None:
    study = config.study
    if Path(study.name).name != study.name or study.name in ("", ".."):
        raise ConfigError(f"study.name={study.name} is no name for a folder")
    _check_figures(study.figures)
    for panel in study.panels:
        if panel.errors not in ERRORS:
            raise ConfigError(
                f"study.panels: errors={panel.errors} is not valid: choose {', '.join(ERRORS)}"
            )
    if not study.figures or not study.panels:
        raise ConfigError("study.figures and study.panels need at least one entry each")
    for run in runs:
        if not any(shows(panel, run) for panel in study.panels):
            raise ConfigError(
                f"study.panels show no {net_name(run)}: widen residual, min_depth or max_depth "
                "of one, or leave that net out of study.nets"
            )
    if study.y_max is not None and not 0 < study.y_max <= 100:
        raise ConfigError(f"study.y_max={study.y_max} is not valid: give an error in percent")
    if config.jobs < 1:
        raise ConfigError(f"jobs={config.jobs} is not valid: give at least 1")
    if config.part is not None and not 1 <= config.part <= len(runs):
        raise ConfigError(
            f"part={config.part} is not valid: this study has the parts 1 .. {len(runs)} "
            "(plan=true lists them)"
        )


def _check_figures(figures: list[str]) -> None:
    for figure in figures:
        if is_custom(figure):
            check_custom_name(figure, "study.figures")
        elif figure not in FIGURES:
            raise ConfigError(
                f"study.figures={figures} is not valid: choose {', '.join(FIGURES)}, or a function "
                "of your own, as my_code:draw"
            )
    if len(set(map(attribute_of, figures))) < len(figures):
        raise ConfigError(f"study.figures={figures}: two of them have the same name")


def _digest(study: StudyConfig, runs: list[Config]) -> str:
    """Eight hexadecimal digits for the runs of a study and how they are drawn."""
    whole = [[digest(run) for run in runs], study.figures, dataclasses.asdict(_drawing(study))]
    return short_hash(json.dumps(whole))


def write_index(study: Study, verdicts: list[str]) -> None:
    """Write the study's study.json: its runs, how they are drawn, what they say."""
    index = {
        "study": study.name,
        "runs": [os.path.relpath(run_folder(run), study.folder) for run in study.runs],
        "figures": study.figures,
        "drawing": dataclasses.asdict(study.drawing),
        "verdicts": verdicts,
    }
    study.folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(study.folder / "study.json") as stream:
        json.dump(index, stream, indent=2)
        stream.write("\n")
