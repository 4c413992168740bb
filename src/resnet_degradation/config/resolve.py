"""Checks a configuration and fills in unset settings. Does not load torch."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from resnet_degradation.config.architectures import Family, choose_family, default_shortcut
from resnet_degradation.config.durations import is_fraction, normalize_duration
from resnet_degradation.config.schema import Config, DataConfig
from resnet_degradation.config.validate import check_custom_code, check_net_to_extend, check_values
from resnet_degradation.system.errors import ConfigError

# In section 4.2, nets of at least this depth start with a smaller learning rate.
MIN_WARMUP_DEPTH = 110

# Range of an image's shorter side, in multiples of the crop size. Section 3.4: 256 to 480 for 224.
SCALE_RATIOS = (256 / 224, 480 / 224)


def resolve(config: Config) -> Config:
    """Check a configuration and fill in every unset setting.

    Raises ConfigError, with the key and its valid values, if a setting is invalid.
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
    check_net_to_extend(config, family)
    check_custom_code(config, family)
    weights, weights_digest = _resolve_weights(config)
    shortcut = config.shortcut or default_shortcut(config.depth, family)
    has_option_a = config.residual and shortcut == "A"
    scale = recipe.scale or [round(data.image_size * ratio) for ratio in SCALE_RATIOS]
    warmup = default_warmup(config.depth, family) if recipe.warmup == "auto" else recipe.warmup
    return replace(
        config,
        family=family,
        shortcut=shortcut if config.residual else None,
        shortcut_padding=config.shortcut_padding if has_option_a else "behind",
        weights=weights,
        weights_digest=weights_digest,
        data=replace(config.data, root=_resolve_data_root(config.data)),
        recipe=replace(
            recipe,
            iterations=normalize_duration(recipe.iterations, "recipe.iterations"),
            plateau_every=normalize_duration(recipe.plateau_every, "recipe.plateau_every"),
            milestones=[
                m if is_fraction(m) else normalize_duration(m, "recipe.milestones")
                for m in recipe.milestones
            ],
            warmup=warmup,
            scale=scale if recipe.augmentation == "scale-jitter" else None,
        ),
    )


def default_warmup(depth: int, family: Family) -> str:
    """Return the warmup that "auto" selects for this net (section 4.2)."""
    return "always" if family == "cifar" and depth >= MIN_WARMUP_DEPTH else "never"


def _resolve_data_root(data: DataConfig) -> str | None:
    """Return the folder of the images: `data.root`, else RESNET_DATA, else ./data."""
    if data.name == "digits":
        return None
    if data.root is not None:
        return _absolute_path(data.root)
    if data.loader is not None:
        return None
    base = _absolute_path(os.environ.get("RESNET_DATA") or "data")
    return str(Path(base) / "imagenet") if data.name == "imagenet" else base


def _absolute_path(path: str) -> str:
    """Make a path absolute and remove "..", so that a folder is always written the same way."""
    return os.path.abspath(expand_home(path))  # noqa: PTH100 (Path keeps "..")


def expand_home(path: str) -> str:
    """Replace ~ or ~user with the home folder. An unknown ~user is left unchanged."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises for unknown users)


def _resolve_weights(config: Config) -> tuple[str | None, str | None]:
    """Return the absolute path of the initial weights, and 16 digits of the file's checksum."""
    if not config.weights:
        if config.weights_digest:
            raise ConfigError("weights_digest is set without weights: also set weights=FILE")
        return None, None
    path = _absolute_path(config.weights)
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
