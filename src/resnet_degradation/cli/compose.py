"""Composes configurations from conf/ and overrides with Hydra."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import (
    Config,
    EvaluationConfig,
    InspectionConfig,
    StudyRunConfig,
)
from resnet_degradation.config.validate import check_shortcut_padding


def config_folder() -> Path:
    """Return the folder of YAML files: in the installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def register_schemas() -> None:
    """Register the dataclasses that the YAML files are merged into."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(name="study_schema", node=StudyRunConfig)
    store.store(name="eval_schema", node=EvaluationConfig)
    store.store(name="inspect_schema", node=InspectionConfig)


@contextmanager
def isolated_hydra() -> Iterator[None]:
    """Let Hydra compose from conf/ inside the block, even if the calling program uses Hydra too."""
    hydra, version, store = GlobalHydra.instance(), VersionBase.instance(), ConfigStore.instance()
    old_hydra = hydra.hydra
    old_version_base = version.version_base
    old_schemas = store.repo.copy()
    hydra.clear()
    register_schemas()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.set_instance(hydra)
        hydra.hydra, version.version_base = old_hydra, old_version_base
        store.repo.update(old_schemas)  # may have the same names as ours


def compose_config(*overrides: str) -> Config:
    """Return the resolved configuration of `resnet-train` with these overrides.

    Raises ConfigError or one of Hydra's exceptions for invalid settings.
    """
    with isolated_hydra():
        return resolve_composed(compose("config", overrides=list(overrides)))


def resolve_composed(composed: DictConfig) -> Config:
    """Resolve a composed configuration; raises ConfigError if it cannot be run."""
    config = cast(Config, OmegaConf.to_object(composed))
    if config.weights:
        from resnet_degradation.nets.build import use_shortcut_of_weights  # loads torch

        config = use_shortcut_of_weights(config)
    resolved = resolve(config)
    check_shortcut_padding(config, resolved)
    return resolved
