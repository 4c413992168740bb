"""Checks a configuration and fills in the settings left open, before torch is loaded."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from resnet_degradation.config.architectures import Family, choose_family, default_shortcut
from resnet_degradation.config.durations import is_fraction, normal_duration
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.config.validate import check_custom_code, check_extends, check_values
from resnet_degradation.system.errors import ConfigError

# Section 4.2 trains nets of at least this depth with a smaller learning rate at first.
WARMUP_FROM_DEPTH = 110

# Section 3.4 samples the shorter side in [256, 480] for crops of 224.
SCALE_OF_CROP = (256 / 224, 480 / 224)


def resolve(config: Config) -> Config:
    """The configuration with every setting that was left open filled in.

    Raises ConfigError, with the key and its valid values, if it breaks a rule.
    """
    data, recipe = config.data, config.recipe
    config = replace(
        config,
        family=config.family or None,
        shortcut=config.shortcut or None,
        shortcut_padding=config.shortcut_padding or "behind",
        block=config.block or None,
        data=replace(data, root=data.root or None, loader=data.loader or None),
    )
    check_values(config)
    candidates = data.families if config.family is None else [config.family]
    family = choose_family(config.depth, cast(tuple[Family, ...], tuple(candidates)))
    check_extends(config, family)
    check_custom_code(config, family)
    weights, weights_digest = _weights(config)
    shortcut = config.shortcut or default_shortcut(config.depth, family)
    option_a = config.residual and shortcut == "A"
    scale = recipe.scale or [round(data.image_size * ratio) for ratio in SCALE_OF_CROP]
    warmup = default_warmup(config.depth, family) if recipe.warmup == "auto" else recipe.warmup
    return replace(
        config,
        family=family,
        shortcut=shortcut if config.residual else None,
        shortcut_padding=config.shortcut_padding if option_a else "behind",
        weights=weights,
        weights_digest=weights_digest,
        data=replace(config.data, root=_data_root(config.data)),
        recipe=replace(
            recipe,
            iterations=normal_duration(recipe.iterations, "recipe.iterations"),
            plateau_every=normal_duration(recipe.plateau_every, "recipe.plateau_every"),
            milestones=[
                m if is_fraction(m) else normal_duration(m, "recipe.milestones")
                for m in recipe.milestones
            ],
            warmup=warmup,
            scale=scale if recipe.augmentation == "scale-jitter" else None,
        ),
    )


def default_warmup(depth: int, family: Family) -> str:
    """What warmup=auto means for this net (section 4.2)."""
    return "always" if family == "cifar" and depth >= WARMUP_FROM_DEPTH else "never"


def _data_root(data: DataConfig) -> str | None:
    """The folder of the images: `data.root`, or else RESNET_DATA, or else ./data."""
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
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises for unknown users)


def _weights(config: Config) -> tuple[str | None, str | None]:
    """The absolute path of the file of initial weights, and 16 digits of its checksum."""
    if not config.weights:
        if config.weights_digest:
            raise ConfigError("weights_digest needs the file that it identifies: set weights=FILE")
        return None, None
    path = _normal_path(config.weights)
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(f"weights={path} cannot be read ({error.strerror})") from error
    if config.weights_digest not in (None, digest):
        raise ConfigError(
            f"weights={path} is not the expected file: its digest is {digest}, not "
            f"weights_digest={config.weights_digest}"
        )
    return path, digest
