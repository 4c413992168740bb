"""Quotes paths, so that Hydra reads special characters in them literally."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Sweep
from hydra.errors import HydraException

from resnet_degradation.config.identity import escape_interpolation
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import schema_fields
from resnet_degradation.system.errors import ConfigError

# ${now:FORMAT}. It is replaced once, here, so that all jobs of a launcher get the same time.
NOW_PATTERN = re.compile(r"\$\{now:([^{}'\"\\]*)\}")
PARSE_ERROR = object()


def quote_paths(arguments: list[str], schema: type[Any]) -> list[str]:
    """Put quotes around each path in the arguments that Hydra would otherwise parse differently.

    Also replaces ~/ with the home directory and, in paths, ${now:FORMAT} with the current time.
    """
    fields = schema_fields(schema)
    is_sweep = not {"-m", "--multirun"}.isdisjoint(arguments)
    quoted = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        value = expand_home(value)
        field = fields.get(key.lstrip("+"))
        if value and field is not None and "path" in field.metadata:
            value = NOW_PATTERN.sub(lambda match: time.strftime(match[1]), value)
            value = _quote_path(value, field.metadata["path"], is_sweep)
        quoted.append(f"{key}{equals}{value}")
    return quoted


def to_override(value: Any) -> str:
    """Format a Python value for a Hydra override: null, true, 0.1, digits or [8,16], for example.

    Raises ConfigError unless it is a string, a number, a bool, None, a list or a dictionary.
    """
    if value is None or type(value).__name__ in ("bool", "bool_"):  # bool_ is numpy's
        return "null" if value is None else str(bool(value)).lower()
    if isinstance(value, str | os.PathLike):
        text = expand_home(os.fspath(value))
        needs_quotes = not text or "${" in text or _parse(text) != text
        return quote(text) if needs_quotes else text
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{to_override(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return f"[{','.join(map(to_override, value))}]"
    raise ConfigError(
        f"{value!r} cannot be the value of a setting: use a string, a number, a bool, None, a list "
        "or a dictionary"
    )


def quote(text: str) -> str:
    """Put a string in quotes, so that Hydra and OmegaConf read it literally."""
    return str(QuotedString(escape_interpolation(text), Quote.double).with_quotes())


def _quote_path(text: str, kind: str, is_sweep: bool) -> str:
    """Quote the value of a path setting if necessary.

    kind: "input" for an existing path, "inputs" for a list of existing paths, or "output".
    """
    value = _parse(text)
    if value is None or (value == text and "${" not in text):
        return text
    if _exists(text) or isinstance(value, bool | int | float):
        return quote(text)  # for example a folder named 2026
    if kind == "inputs" and text.startswith("[") and text.endswith("]"):
        return f"[{_quote_each(text[1:-1], kind)}]"
    if is_sweep and "," in text:
        return _quote_each(text, kind)
    collection_types = (list | dict) if is_sweep else (Sweep | list | dict)
    if "${" not in text and (
        value is PARSE_ERROR or (kind == "output" and isinstance(value, collection_types))
    ):
        return quote(text)
    return text  # already quoted, or several values


def _quote_each(text: str, kind: str) -> str:
    """Quote those of the comma-separated paths that need it."""
    is_valid = _parse(text) is not PARSE_ERROR
    if is_valid and re.search("['\"]", text):
        return text  # already quoted
    return ",".join(
        path if is_valid and not _exists(path) else _quote_path(path, kind, is_sweep=False)
        for path in _split_paths(text)
    )


def _split_paths(text: str) -> Iterator[str]:
    """Split at commas, except at a comma in the name of an existing path."""
    parts = text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            path = expand_home(",".join(parts[:count]).lstrip())
            if _exists(path):
                break
        yield path
        parts = parts[count:]


def _parse(text: str) -> Any:
    """Return the value as Hydra parses it (a string, a number, a Sweep, ...), or PARSE_ERROR."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return PARSE_ERROR


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for a name that is too long)
