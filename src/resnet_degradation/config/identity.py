"""The settings that identify a run, and the names and the folder that are derived from them.

The name of a net, such as ResNet-34-B, does not identify a run: two custom blocks can have the same
class name, and two runs with the same net can have different recipes.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

from resnet_degradation.config.architectures import Family, default_shortcut, find_architecture
from resnet_degradation.config.custom_code import attribute_name
from resnet_degradation.config.schema import USER_DATA_NAMES, Config, NetConfig, RecipeConfig
from resnet_degradation.system.encoding import escape_non_utf8

Item = TypeVar("Item")

# The settings that may differ between nets of a study. Other differences follow from these.
NET_SETTINGS = (*(field.name for field in dataclasses.fields(NetConfig)), "bottleneck_stride")


def identity_settings(config: Config) -> dict[str, Any]:
    """Return the settings that identify a run: those that are meant to change its results.

    Settings with their default value are left out, so that a later version can add a setting
    without renaming the folders of earlier runs. RuntimeConfig describes the exceptions.
    """
    settings = dataclasses.asdict(config)
    runtime, _ = settings.pop("runtime"), settings.pop("output_dir")
    settings["runtime"] = {"precision": runtime["precision"]}
    # on_error: checkpoints identify the images, so a resumed run always skips the same ones.
    for key in ("families", "download", "on_error"):
        settings["data"].pop(key)
    if config.data.name not in USER_DATA_NAMES and config.data.loader is None:
        settings["data"].pop("root")  # the images have checksums, so their folder does not matter
    settings.pop("weights")  # weights_digest identifies them
    if find_architecture(config.depth, cast(Family, config.family)).block == "basic":
        settings.pop("bottleneck_stride")
    for key in _unused_keys(config.recipe):
        settings["recipe"].pop(key)
    return _drop_defaults(settings, dataclasses.asdict(Config()))


def _unused_keys(recipe: RecipeConfig) -> Iterator[str]:
    """Yield the keys that have no effect with the recipe's other settings."""
    if recipe.schedule == "plateau":
        yield "milestones"
    else:
        yield from ("plateau_every", "plateau_patience", "plateau_threshold")
    if recipe.warmup == "never":
        yield from ("warmup_lr", "warmup_until", "warmup_window")
    if recipe.augmentation != "pad-crop":
        yield "pad"
    if recipe.augmentation != "scale-jitter":
        yield "resize"
    if recipe.augmentation == "none":
        yield "mirror"


def _drop_defaults(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _drop_defaults(value, defaults[key]) if isinstance(value, dict) else value
        for key, value in values.items()
        if isinstance(value, dict) or value != defaults[key]
    }


def flat_identity(config: Config) -> dict[str, Any]:
    """Return the identity settings as a flat dictionary with dotted keys."""
    return flatten_dict(identity_settings(config))


def flatten_dict(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Convert nested settings to a flat dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        is_section = isinstance(value, dict)
        flat |= flatten_dict(value, f"{prefix}{key}.") if is_section else {prefix + key: value}
    return flat


def escape_interpolation(value: Any) -> Any:
    """Escape `${` in a string, or in the strings of a dictionary, for OmegaConf."""
    if isinstance(value, dict):
        return {key: escape_interpolation(item) for key, item in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda match: rf"{2 * match[1]}\${{", value)
    return value


def digest(config: Config) -> str:
    """A short hash of a resolved configuration's identity settings."""
    return short_hash(json.dumps(identity_settings(config), sort_keys=True))


def short_hash(text: str) -> str:
    """Hash a string to eight hexadecimal digits."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def net_name(config: Config) -> str:
    """The name of the net in the paper's style, such as plain-34, ResNet-56 or ResNet-34-B."""
    name = f"{'ResNet' if config.residual else 'plain'}-{config.depth}"
    if config.residual:
        if config.shortcut != default_shortcut(config.depth, cast(Family, config.family)):
            name += f"-{config.shortcut}"
        if config.shortcut_padding == "around":
            name += "-around"
    if config.width != 1:
        name += f"-width{config.width:g}"
    if config.block is not None:
        name += f"-{attribute_name(config.block)}"
    return name if config.extends is None else f"{name}-from-{config.extends}"


def shallow_config(config: Config) -> Config:
    """The configuration of the shallower run whose net a run with `extends` starts from."""
    assert config.extends is not None
    return dataclasses.replace(config, depth=config.extends, extends=None)


def run_name(config: Config) -> str:
    """The name of the net, and the seed."""
    return f"{net_name(config)} seed {config.seed}"


def data_name(config: Config) -> str:
    """The name of the data set, or of its folder if it is the user's own."""
    if config.data.name in USER_DATA_NAMES and config.data.root is not None:
        return escape_non_utf8(Path(config.data.root).name) or config.data.name
    return config.data.name


def run_folder(config: Config) -> Path:
    """The run folder of a resolved configuration."""
    name = f"{net_name(config)}-seed{config.seed}-{digest(config)}"
    return Path(config.output_dir) / data_name(config) / name


def net_key(config: Config) -> str:
    """A string that is equal for runs that differ only in the seed."""
    return settings_key(config, exclude={"seed"})


def architecture_key(config: Config) -> str:
    """A string that is equal for runs of the same net, no matter how it is trained."""
    return str([get_setting(config, key) for key in NET_SETTINGS])


def settings_key(config: Config, exclude: Collection[str]) -> str:
    """A run's identity settings as one string, without those with the dotted keys in `exclude`."""
    settings = flat_identity(config)
    kept = {key: value for key, value in settings.items() if key not in exclude}
    return json.dumps(kept, sort_keys=True)


def group_by_net(runs: Iterable[tuple[Config, Item]]) -> list[tuple[str, Config, list[Item]]]:
    """Group runs by net; return each net's unique name, first configuration, and items."""
    groups: dict[str, list[tuple[Config, Item]]] = {}
    for config, item in runs:
        groups.setdefault(net_key(config), []).append((config, item))
    configs = [members[0][0] for members in groups.values()]
    items = [[item for _, item in members] for members in groups.values()]
    return list(zip(distinct_names(configs), configs, items, strict=True))


def get_setting(config: Config, key: str) -> Any:
    """Return the value of the setting with this dotted key."""
    return attrgetter(key)(config)


def differing_settings(configs: Sequence[Config]) -> list[str]:
    """The sorted dotted keys of the identity settings that differ between these runs."""
    keys = sorted({key for config in configs for key in flat_identity(config)})
    return [key for key in keys if len({str(get_setting(config, key)) for config in configs}) > 1]


def distinct_names(
    configs: Sequence[Config],
    names: Sequence[str] | None = None,
    ignored: Collection[str] = ("seed",),
) -> list[str]:
    """Return a name for each configuration. Equal names get the settings that differ as a suffix.

    names: names to start from; by default the names of the nets.
    ignored: settings that are never added to a name.
    """
    groups: dict[str, list[Config]] = {}
    names_and_configs = list(zip(names or map(net_name, configs), configs, strict=True))
    for name, config in names_and_configs:
        groups.setdefault(name, []).append(config)
    keys = {name: differing_settings(group) for name, group in groups.items()}
    distinct = []
    for name, config in names_and_configs:
        values = {key: get_setting(config, key) for key in keys[name] if key not in ignored}
        suffix = ", ".join(
            f"{key.rpartition('.')[2]} {'none' if value is None else value}"
            for key, value in values.items()
        )
        distinct.append(f"{name} ({suffix})" if suffix else name)
    return distinct


def distinct_run_names(configs: Sequence[Config]) -> list[str]:
    """Return a name for each run: the distinct name of its net, and its seed."""
    names = distinct_names(configs)
    return [f"{name} seed {config.seed}" for name, config in zip(names, configs, strict=True)]


def describe_values(setting: str, values: Sequence[Any], names: Sequence[str]) -> str:
    """Describe a setting's values: "recipe.warmup is never for plain-20 and always for ..."."""
    groups: dict[str, dict[str, None]] = {}
    for value, name in zip(values, names, strict=True):
        groups.setdefault(str(value), {})[name] = None
    return f"{setting} is " + " and ".join(
        f"{value} for {', '.join(members)}" for value, members in groups.items()
    )
