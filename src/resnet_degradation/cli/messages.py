"""Explains configuration errors in one line."""

import difflib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from resnet_degradation.config.schema import NetConfig, StudyRunConfig, schema_fields
from resnet_degradation.system import errors
from resnet_degradation.system.errors import ConfigError

# Hints for OmegaConf's messages about types, keyed by a part of the message.
TYPE_HINTS = {
    "could not be converted to Integer": ": it must be a whole number",
    "could not be converted to Float": ": it must be a number",
    "is not a valid bool": ": use true or false",
    "is not a ListConfig": ": use a list in brackets, such as [a] or [a,b]",
}

NET_KEYS = [field.name for field in fields(NetConfig)]
NETS_ADVICE = "set 'study.nets=[{depth: 20, residual: false}, ...]'"


def refuse_unknown_keys(composed: DictConfig, schema: type[Any]) -> None:
    """Raise ConfigError if a key was added with +key=value or removed with ~key."""
    keys, known = (
        _keys(cast(dict[str, Any], OmegaConf.to_container(config)))
        for config in (composed, OmegaConf.structured(schema))
    )
    for key in keys:
        if key not in known:
            raise ConfigError(_unknown_key(key, schema))
    for key in known:
        if key not in keys:
            raise ConfigError(f"{key} cannot be removed with ~: omit ~{key} to use its default")


def _keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of all sections and settings."""
    keys = []
    for key, value in values.items():
        keys.append(prefix + key)
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys


def _unknown_key(key: str, schema: type[Any]) -> str:
    net_keys = NET_KEYS if schema is StudyRunConfig else []
    if key in net_keys:
        return f"there is no key {key}: {NETS_ADVICE}"
    keys = list(schema_fields(schema))
    # Also compare the last parts of keys: as a whole, "lr" is not close to "recipe.lr".
    by_last_part = {known.rpartition(".")[2]: known for known in reversed(keys)}
    nearest = difflib.get_close_matches(key, keys, 1, 0.7) or [
        by_last_part[match]
        for match in difflib.get_close_matches(key.rpartition(".")[2], by_last_part, 1, 0.7)
    ]
    hint = f"the nearest is {nearest[0]}" if nearest else "see --help for the valid keys"
    if not nearest and difflib.get_close_matches(key, net_keys, 1, 0.7):
        hint = NETS_ADVICE
    return f"there is no key {key}: {hint}"


def explain(error: Exception, schema: type[Any]) -> str | None:
    """Return what is wrong and what to do, if the user can fix it; None for a bug."""
    cause = error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _explain_option(str(error.missing_cfg_file), error.options)
    if isinstance(error, HydraException | OmegaConfBaseException):
        if isinstance(cause, OmegaConfBaseException):
            return _explain_value(cause, schema)
        return _explain_override(str(error))
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"data, recipe, runtime and study cannot be null: choose an option ({error})"
    return errors.explain(error)


def _explain_option(chosen: str, options: Sequence[str]) -> str:
    group, _, option = chosen.rpartition("/")
    nearest = difflib.get_close_matches(option.lower(), options, 1)
    hint = f", the nearest is {group}={nearest[0]}" if nearest else ""
    if group == "hydra/launcher":
        hint += " (launchers are installed with pip install -e '.[joblib,slurm,ray]')"
    custom = "; custom ones: --config-dir FOLDER" if group in ("data", "recipe", "study") else ""
    return f"there is no {group}={option}{hint}; valid: {', '.join(options)}{custom}"


def _explain_value(cause: OmegaConfBaseException, schema: type[Any]) -> str:
    key = str(cause.full_key or "")
    if key and isinstance(cause, ConfigAttributeError | ConfigKeyError):
        if cause.object_type is NetConfig:
            return (
                f"a net in study.nets has no key {key}, only {', '.join(NET_KEYS)}: use study.grid "
                "to vary settings of recipe and data"
            )
        return _unknown_key(key, schema)
    message = str(cause).splitlines()[0]
    if "missing mandatory value" in message:
        return f"a net of study.nets lacks {message.rpartition(' ')[2]}: {NETS_ADVICE}"
    if "NetConfig" in message:
        return f"study.nets has an entry that is not a net: {NETS_ADVICE}"
    expected = next((hint for part, hint in TYPE_HINTS.items() if part in message), "")
    return f"{key}: {message}{expected}" if key else message + expected


def _explain_override(message: str) -> str:
    first = message.splitlines()[0]
    if "Ambiguous value" in first:
        given = first.partition(" for argument ")[2]
        lists = {"seeds": "[0,1]", "what": "[signals,lesions]"}
        named = next((name for name in lists if f"'{name}=" in given), None)
        advice = f"use a list, such as {named}={lists[named]}" if named else "add -m to run each"
        return f"{given} names several values: {advice}"
    if "Error parsing override" in first and "=" not in first:
        given = first.partition("override ")[2]
        return f"{given} lacks a value: settings are given as key=VALUE, see --help"
    if "no viable alternative" in first:
        return f"{first}: quote a setting that contains spaces, such as 'key=[a, b]'"
    return message.replace("\nSee https://", " See https://").split("\nTo append")[0]


def explain_parser_error(error: Exception) -> str | None:
    """Explain an error that Hydra's parser raises as a plain Python exception."""
    if not __debug__:  # Hydra's parser relies on assertions
        return "these settings cannot be read under python -O: unset PYTHONOPTIMIZE"
    return f"these settings cannot be read: {error}" if isinstance(error, ValueError) else None
