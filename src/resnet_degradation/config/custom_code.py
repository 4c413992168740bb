"""Loads the user's own code, which a setting names as module:attribute."""

import importlib
import os
import re
import sys
from typing import Any

from resnet_degradation.system.errors import ConfigError

EXAMPLES = {
    "block": "my_code:MyBlock",
    "data.loader": "my_code:load",
    "study.figures": "my_code:draw",
    "what": "my_probes:small_weights",
}

NAME_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_custom(name: str) -> bool:
    """Whether a setting names custom code."""
    return ":" in name


def check_custom_name(name: str, key: str) -> None:
    """Raise ConfigError unless `name`, the value of `key`, has the form module:attribute."""
    if not NAME_PATTERN.fullmatch(name):
        example = EXAMPLES[key]
        raise ConfigError(f"{key}={name} is not valid: use module:attribute, such as {example}")


def attribute_name(name: str) -> str:
    """The last part of module:attribute."""
    return name.rpartition(":")[2]


def load_custom(name: str, key: str) -> Any:
    """Import module:attribute; the module may be in the current folder.

    Raises ConfigError if there is no such module or attribute. An error inside the module is
    raised unchanged.
    """
    check_custom_name(name, key)
    module_name, _, attribute = name.partition(":")
    if (current_folder := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.insert(0, current_folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, but something that it imports does not
        raise ConfigError(
            f"{key}={name}: no module {error.name} is installed or in {current_folder}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigError(f"{key}={name}: {module.__file__} has no {attribute}") from None
