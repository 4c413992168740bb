"""Groups runs that are seeds of one net, and gives nets names that differ.

The name of a net, such as ResNet-34-B, does not identify it: two custom blocks can have the same
class name, and two runs with the same name can have other recipes. The identity of a run does.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from resnet_degradation.config.identity import identity_settings, net_name
from resnet_degradation.config.schema import Config

Item = TypeVar("Item")


def net_key(config: Config) -> str:
    """Identifies a net and its training: equal for runs that differ in the seed alone."""
    return key_without(config, {"seed"})


def key_without(config: Config, keys: Collection[str]) -> str:
    """Identifies a run by its settings except those with these dotted keys."""
    settings = identity_settings(config)
    return json.dumps({key: settings[key] for key in settings if key not in keys}, sort_keys=True)


def group_by_net(runs: Iterable[tuple[Config, Item]]) -> list[tuple[str, Config, list[Item]]]:
    """Items of runs by net: a name that no other net has, its first configuration, its items."""
    groups: dict[str, list[tuple[Config, Item]]] = {}
    for config, item in runs:
        groups.setdefault(net_key(config), []).append((config, item))
    configs = [members[0][0] for members in groups.values()]
    items = [[item for _, item in members] for members in groups.values()]
    return list(zip(distinct_names(configs), configs, items, strict=True))


def setting(config: Config, key: str) -> Any:
    """The value of a setting by its dotted key."""
    return attrgetter(key)(config)


def differing_settings(configs: Sequence[Config]) -> list[str]:
    """The dotted keys of the settings that change results and differ among these runs, sorted."""
    keys = sorted({key for config in configs for key in identity_settings(config)})
    return [key for key in keys if len({str(setting(config, key)) for config in configs}) > 1]


def distinct_names(
    configs: Sequence[Config],
    names: Sequence[str] | None = None,
    alike: Collection[str] = ("seed",),
) -> list[str]:
    """A name for each configuration; equal names are completed by the settings that differ.

    names: those of the nets by default. alike: settings that do not distinguish.
    """
    named = list(zip(names or [net_name(config) for config in configs], configs, strict=True))
    keys = {
        name: differing_settings([config for other, config in named if other == name])
        for name in {name for name, _ in named}
    }
    return [
        _with_settings(name, config, [key for key in keys[name] if key not in alike])
        for name, config in named
    ]


def _with_settings(name: str, config: Config, keys: list[str]) -> str:
    values = [(key.rpartition(".")[2], setting(config, key)) for key in keys]
    listed = ", ".join(f"{key} {'none' if value is None else value}" for key, value in values)
    return f"{name} ({listed})" if listed else name


def distinct_run_names(configs: Sequence[Config]) -> list[str]:
    """A name for each run: its net's among the nets of these runs, and the seed."""
    names = distinct_names(configs)
    return [f"{name} seed {config.seed}" for name, config in zip(names, configs, strict=True)]


def values_of(what: str, values: Sequence[Any], names: Sequence[str]) -> str:
    """Which value each name has, as "recipe.warmup is never for plain-20 and always for ..."."""
    groups: dict[str, dict[str, None]] = {}
    for value, name in zip(values, names, strict=True):
        groups.setdefault(str(value), {})[name] = None
    return f"{what} is " + " and ".join(f"{v} for {', '.join(of)}" for v, of in groups.items())
