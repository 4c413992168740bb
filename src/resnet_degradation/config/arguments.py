"""Quotes paths so that Hydra reads them as they were typed, whatever their characters."""

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

# ${now:FORMAT}. It is replaced here once, so that all jobs of a launcher have the same time.
NOW_PATTERN = re.compile(r"\$\{now:([^{}'\"\\]*)\}")
UNREADABLE = object()


def quote_paths(arguments: list[str], schema: type[Any]) -> list[str]:
    """The arguments, with quotes around each path that Hydra's grammar would change.

    Replaces ~/ by the home directory and, in paths, ${now:FORMAT} by the time of this call.
    """
    fields = schema_fields(schema)
    sweeping = not {"-m", "--multirun"}.isdisjoint(arguments)
    changed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        value = expand_home(value)
        field = fields.get(key.lstrip("+"))
        if value and field is not None and "path" in field.metadata:
            value = NOW_PATTERN.sub(lambda found: time.strftime(found[1]), value)
            value = _quote_path(value, field.metadata["path"], sweeping)
        changed.append(f"{key}{equals}{value}")
    return changed


def to_override(value: Any) -> str:
    """A Python value in the syntax of Hydra's overrides, such as null, true, 0.1, digits or [8,16].

    Raises ConfigError unless it is a string, a number, a bool, None, a list or a dictionary.
    """
    if value is None or type(value).__name__ in ("bool", "bool_"):  # also numpy's bool
        return "null" if value is None else str(bool(value)).lower()
    if isinstance(value, str | os.PathLike):
        text = expand_home(os.fspath(value))
        plain = bool(text) and "${" not in text and _parse(text) == text
        return text if plain else quoted(text)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{to_override(each)}' for key, each in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return f"[{','.join(map(to_override, value))}]"
    raise ConfigError(
        f"{value!r} cannot be the value of a setting: use a string, a number, a bool, None, a list "
        "or a dictionary"
    )


def quoted(text: str) -> str:
    """The string in quotes, so that Hydra and OmegaConf read it unchanged."""
    return str(QuotedString(escape_interpolation(text), Quote.double).with_quotes())


def _quote_path(text: str, kind: str, sweeping: bool) -> str:
    """The value of a path setting, quoted where necessary.

    kind: "input" for an existing path, "inputs" for a list of them, or "output".
    """
    value = _parse(text)
    if value is None or (value == text and "${" not in text):
        return text
    if _exists(text) or isinstance(value, bool | int | float):
        return quoted(text)  # such as a folder named 2026
    if kind == "inputs" and text.startswith("[") and text.endswith("]"):
        return f"[{_quote_each(text[1:-1], kind)}]"
    if sweeping and "," in text:
        return _quote_each(text, kind)
    multiple = (list | dict) if sweeping else (Sweep | list | dict)
    if "${" not in text and (
        value is UNREADABLE or (kind == "output" and isinstance(value, multiple))
    ):
        return quoted(text)
    return text  # in quotes already, or several values


def _quote_each(text: str, kind: str) -> str:
    """Comma-separated paths, each quoted where necessary."""
    readable = _parse(text) is not UNREADABLE
    if readable and re.search("['\"]", text):
        return text  # in quotes already
    return ",".join(
        path if readable and not _exists(path) else _quote_path(path, kind, sweeping=False)
        for path in _split(text)
    )


def _split(text: str) -> Iterator[str]:
    """The comma-separated paths. A comma in the name of an existing path does not separate."""
    parts = text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            path = expand_home(",".join(parts[:count]).lstrip())
            if _exists(path):
                break
        yield path
        parts = parts[count:]


def _parse(text: str) -> Any:
    """The value as Hydra reads it (text, a number, a Sweep, ...), or UNREADABLE."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return UNREADABLE


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for a name that is too long)
