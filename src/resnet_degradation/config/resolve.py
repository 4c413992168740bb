"""The schema of the configuration, its cross-field rules, and the identity of a run.

The YAML files in `conf/` are merged into these dataclasses by Hydra, so an unknown key or a
wrong type fails while the command line is read. `resolve` then checks what no single field can
tell and settles what was left open, before anything is built. Nothing here imports torch.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from resnet_degradation.config.architectures import Family, choose_family, default_shortcut
from resnet_degradation.config.durations import is_fraction, normal_duration
from resnet_degradation.config.identity import file_digest
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.config.validate import (
    _candidate_families,
    _check_choices,
    _check_custom_code,
    _check_extends,
    _check_ranges,
)
from resnet_degradation.system.errors import ConfigError

# Depths from which section 4.2 begins with the smaller rate.
WARMUP_FROM_DEPTH = 110

# Section 3.4 samples the shorter side in [256, 480] for crops of 224.
SCALE_OF_CROP = (256 / 224, 480 / 224)


def resolve(config: Config) -> Config:
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
    _check_custom_code(config)
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


def _warmup(config: Config, family: Family) -> str:
    given = config.recipe.warmup
    return default_warmup(config.depth, family) if given == "auto" else given


def default_warmup(depth: int, family: Family) -> str:
    """What warmup=auto comes to: section 4.2 begins with the smaller rate from some depth on."""
    return "always" if family == "cifar" and depth >= WARMUP_FROM_DEPTH else "never"


def _normal_milestone(milestone: Any) -> Any:
    return milestone if is_fraction(milestone) else normal_duration(milestone, "recipe.milestones")


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
