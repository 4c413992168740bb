"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

import dataclasses
import difflib
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from resnet_degradation.config.schema import NetConfig, StudyRunConfig, schema_fields
from resnet_degradation.system.errors import explain

# What OmegaConf's messages about types leave unsaid.
EXPECTED = {
    "could not be converted to Integer": ": give a whole number",
    "could not be converted to Float": ": give a number",
    "is not a valid bool": ": give true or false",
    "is not a ListConfig": ": give a list in brackets, as [a] or [a,b]",
}

NETS = "give 'study.nets=[{depth: 20, residual: false}, ...]'"


def valid_keys(schema: type[Any]) -> list[str]:
    """Every key of a schema, with dots."""
    return [key for key, _ in schema_fields(schema)]


def _unknown_key(key: str, schema: type[Any]) -> str:
    keys = valid_keys(schema)
    of_nets = [field.name for field in dataclasses.fields(NetConfig)]
    if schema is StudyRunConfig and key in of_nets:
        return f"there is no key {key}: {NETS}"
    # "lr" is nearer to "recipe.lr" than its letters tell.
    by_last_part = {known.rpartition(".")[2]: known for known in reversed(keys)}
    nearest = difflib.get_close_matches(key, keys, 1, 0.7) or [
        by_last_part[match]
        for match in difflib.get_close_matches(key.rpartition(".")[2], by_last_part, 1, 0.7)
    ]
    if not nearest and schema is StudyRunConfig:
        nearest = difflib.get_close_matches(key, of_nets, 1, 0.7)
    hint = f"the nearest is {nearest[0]}" if nearest else "see --help for the valid keys"
    return f"there is no key {key}: {hint}"


def _explain(error: Exception, schema: type[Any]) -> str | None:
    """What is wrong, in one line, if the user can fix it; None if it is a bug."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_configuration(error, schema)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"data, recipe, runtime and study cannot be null: choose an option ({error})"
    return explain(error)


def _explain_configuration(error: Exception, schema: type[Any]) -> str:
    """What Hydra or OmegaConf object to, in one line."""
    cause = error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        nearest = difflib.get_close_matches(option, error.options, 1)
        hint = f", the nearest is {group}={nearest[0]}" if nearest else ""
        if group == "hydra/launcher":
            hint += " (launchers are installed with pip install -e '.[joblib,slurm,ray]')"
        own = "; your own: --config-dir FOLDER" if group in ("data", "recipe", "study") else ""
        return f"there is no {group}={option}{hint}; valid: {', '.join(error.options)}{own}"
    if isinstance(cause, OmegaConfBaseException):
        return _explain_value(cause, schema)
    return _explain_override(str(error))


def _explain_value(cause: OmegaConfBaseException, schema: type[Any]) -> str:
    """What OmegaConf objects to: a key that is not there, or what it is set to."""
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_key(str(cause.full_key), schema)
    key = f"{cause.full_key}: " if cause.full_key else ""
    message = str(cause).splitlines()[0]
    if "missing mandatory value" in message:
        return f"a net of study.nets lacks {message.rpartition(' ')[2]}: {NETS}"
    if "NetConfig" in message:
        return f"study.nets has something else than nets: {NETS}"
    expected = next((e for kind, e in EXPECTED.items() if kind in message), "")
    return f"{key}{message}{expected}"


def _explain_override(message: str) -> str:
    """What Hydra objects to in how a setting is written."""
    first = message.splitlines()[0]
    if "Ambiguous value" in first:
        given = first.partition(" for argument ")[2]
        lists = {"seeds": "[0,1]", "what": "[signals,lesions]"}
        named = next((name for name in lists if f"'{name}=" in given), None)
        advice = f"give a list, as {named}={lists[named]}" if named else "add -m to run each"
        return f"{given} names several values: {advice}"
    if "Error parsing override" in first and "missing EQUAL" in message:
        return f"{first.partition('override ')[2]} lacks a value: settings are given as key=VALUE"
    if "no viable alternative" in first:
        return f"{first}: put a setting with blanks in it in quotes, as 'key=[a, b]'"
    return message.replace("\nSee https://", " See https://").split("\nTo append")[0]
