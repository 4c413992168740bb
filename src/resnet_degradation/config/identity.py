"""The identity of a run, and the names and the run folder that follow from it.

The name of a net, such as ResNet-34-B, does not identify a run: two custom blocks can have the same
class name, and two runs of nets with the same name can have different recipes.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

from resnet_degradation.config.architectures import Family, architecture, default_shortcut
from resnet_degradation.config.custom_code import attribute_of
from resnet_degradation.config.schema import USER_DATA, Config, NetConfig, RecipeConfig
from resnet_degradation.system.encoding import escape_non_utf8

Item = TypeVar("Item")

# The settings in which nets of a study may differ; other differences follow from these.
NET_SETTINGS = (*(field.name for field in dataclasses.fields(NetConfig)), "bottleneck_stride")


def identity(config: Config) -> dict[str, Any]:
    """Every setting that is meant to change a run's results; see RuntimeConfig for exceptions.

    A setting at the schema's default is left out, so that a later version can add one without
    renaming earlier runs.
    """
    settings = dataclasses.asdict(config)
    runtime, _ = settings.pop("runtime"), settings.pop("output_dir")
    settings["runtime"] = {"precision": runtime["precision"]}
    # on_error: checkpoints identify the images, so a resumed run never skips other images.
    for key in ("families", "download", "on_error"):
        settings["data"].pop(key)
    if config.data.name not in USER_DATA and config.data.loader is None:
        settings["data"].pop("root")  # the images are checksummed, so their folder does not matter
    settings.pop("weights")  # weights_digest identifies them
    if architecture(config.depth, cast(Family, config.family)).block == "basic":
        settings.pop("bottleneck_stride")
    for key in _without_effect(config.recipe):
        settings["recipe"].pop(key)
    return _non_default(settings, dataclasses.asdict(Config()))


def _without_effect(recipe: RecipeConfig) -> Iterator[str]:
    """The keys of the recipe that do nothing because of its other settings."""
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


def _non_default(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _non_default(value, defaults[key]) if isinstance(value, dict) else value
        for key, value in values.items()
        if isinstance(value, dict) or value != defaults[key]
    }


def identity_settings(config: Config) -> dict[str, Any]:
    """The settings in the identity by their dotted keys."""
    return dotted(identity(config))


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict)
        flat |= dotted(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def escape_interpolation(value: Any) -> Any:
    """The value with `${` escaped in its texts, so that OmegaConf does not interpolate them."""
    if isinstance(value, dict):
        return {key: escape_interpolation(each) for key, each in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{2 * found[1]}\${{", value)
    return value


def digest(config: Config) -> str:
    """Eight hexadecimal digits that identify a resolved configuration."""
    return short_hash(json.dumps(identity(config), sort_keys=True))


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that identify a text."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()


def net_name(config: Config) -> str:
    """The net as the paper writes it: plain-34, ResNet-56, ResNet-34-B."""
    name = f"{'ResNet' if config.residual else 'plain'}-{config.depth}"
    if config.residual:
        if config.shortcut != default_shortcut(config.depth, cast(Family, config.family)):
            name += f"-{config.shortcut}"
        if config.shortcut_padding == "around":
            name += "-around"
    if config.width != 1:
        name += f"-width{config.width:g}"
    if config.block is not None:
        name += f"-{attribute_of(config.block)}"
    return name if config.extends is None else f"{name}-from-{config.extends}"


def shallow_config(config: Config) -> Config:
    """The configuration of the trained shallower run from which a run with `extends` starts."""
    assert config.extends is not None
    return dataclasses.replace(config, depth=config.extends, extends=None)


def run_name(config: Config) -> str:
    """The net and the seed."""
    return f"{net_name(config)} seed {config.seed}"


def data_name(config: Config) -> str:
    """The name of the data set, or of the folder if the images are the user's own."""
    if config.data.name in USER_DATA and config.data.root is not None:
        return escape_non_utf8(Path(config.data.root).name) or config.data.name
    return config.data.name


def run_folder(config: Config) -> Path:
    """The run folder of a resolved configuration; equal settings give the same folder."""
    name = f"{net_name(config)}-seed{config.seed}-{digest(config)}"
    return Path(config.output_dir) / data_name(config) / name


def net_key(config: Config) -> str:
    """A string for a net and its training, which is equal for runs that differ only in the seed."""
    return key_without(config, {"seed"})


def architecture_key(config: Config) -> str:
    """A string for a net of a study, which does not depend on how the net is trained."""
    return str([setting_value(config, key) for key in NET_SETTINGS])


def key_without(config: Config, keys: Collection[str]) -> str:
    """A run's settings as one string, without the settings with these dotted keys."""
    settings = identity_settings(config)
    return json.dumps({key: settings[key] for key in settings if key not in keys}, sort_keys=True)


def group_by_net(runs: Iterable[tuple[Config, Item]]) -> list[tuple[str, Config, list[Item]]]:
    """For each net of these runs: a unique name, its first configuration, and its items."""
    groups: dict[str, list[tuple[Config, Item]]] = {}
    for config, item in runs:
        groups.setdefault(net_key(config), []).append((config, item))
    configs = [members[0][0] for members in groups.values()]
    items = [[item for _, item in members] for members in groups.values()]
    return list(zip(distinct_names(configs), configs, items, strict=True))


def setting_value(config: Config, key: str) -> Any:
    """The value of a setting by its dotted key."""
    return attrgetter(key)(config)


def differing_settings(configs: Sequence[Config]) -> list[str]:
    """The dotted keys of the settings that change results and differ among these runs, sorted."""
    keys = sorted({key for config in configs for key in identity_settings(config)})
    return [key for key in keys if len({str(setting_value(config, key)) for config in configs}) > 1]


def distinct_names(
    configs: Sequence[Config],
    names: Sequence[str] | None = None,
    ignored: Collection[str] = ("seed",),
) -> list[str]:
    """A name for each configuration; the settings that differ are added to equal names.

    names: the nets' names by default. ignored: settings that are never added.
    """
    groups: dict[str, list[Config]] = {}
    named = list(zip(names or map(net_name, configs), configs, strict=True))
    for name, config in named:
        groups.setdefault(name, []).append(config)
    keys = {name: differing_settings(group) for name, group in groups.items()}
    distinct = []
    for name, config in named:
        values = {key: setting_value(config, key) for key in keys[name] if key not in ignored}
        listed = ", ".join(
            f"{key.rpartition('.')[2]} {'none' if value is None else value}"
            for key, value in values.items()
        )
        distinct.append(f"{name} ({listed})" if listed else name)
    return distinct


def distinct_run_names(configs: Sequence[Config]) -> list[str]:
    """A name for each run: the name of its net, made distinct among these runs, and its seed."""
    names = distinct_names(configs)
    return [f"{name} seed {config.seed}" for name, config in zip(names, configs, strict=True)]


def values_of(what: str, values: Sequence[Any], names: Sequence[str]) -> str:
    """Which value each name has: "recipe.warmup is never for plain-20 and always for ..."."""
    groups: dict[str, dict[str, None]] = {}
    for value, name in zip(values, names, strict=True):
        groups.setdefault(str(value), {})[name] = None
    return f"{what} is " + " and ".join(
        f"{value} for {', '.join(members)}" for value, members in groups.items()
    )
