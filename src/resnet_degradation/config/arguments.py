"""What is changed on the command line before Hydra reads it: paths are taken as they are typed."""

import os
import re
import shlex
import time
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Sweep
from hydra.errors import HydraException

from resnet_degradation.config.identity import literal
from resnet_degradation.config.resolve import expand_home
from resnet_degradation.config.schema import schema_fields
from resnet_degradation.system.errors import ConfigError

# A time in a path, which each job of a launcher would take anew.
NOW = re.compile(r"\$\{now:([^{}'\"\\]*)\}")
REFUSED = object()


def paths_as_typed(arguments: list[str], schema: type[Any]) -> list[str]:
    """The arguments, with a path in quotes where Hydra's grammar would not read it as it stands.

    ~/ is the home folder, and ${now:...} in a path the time of this call. Raises ConfigError for a
    path that the grammar refuses and that is not there, and for settings given as options.
    """
    fields = dict(schema_fields(schema))
    sweeping = not {"-m", "--multirun"}.isdisjoint(arguments)
    changed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("--") and key[2:] in fields:
            raise ConfigError(f"{argument} is no option: settings are given as {key[2:]}=VALUE")
        kind = fields[name].metadata.get("path") if (name := key.lstrip("+")) in fields else None
        value = expand_home(value)
        if value and kind is not None:
            value = _as_typed(key, NOW.sub(_now, value), kind, sweeping)
        changed.append(f"{key}{equals}{value}")
    return changed


def quoted(path: str) -> str:
    """A path in quotes, as Hydra and OmegaConf read it without changing it."""
    return str(QuotedString(literal(path), Quote.double).with_quotes())


def _as_typed(key: str, text: str, kind: str, sweeping: bool) -> str:
    """The value of a key for a path, or for several, so that Hydra reads it as it was typed.

    kind: "input" for a path that has to be there, "inputs" for a list of them, or "output".
    """
    value = _parsed(text)
    if value is None or (value == text and "${" not in text):
        return text
    if _exists(text) or isinstance(value, bool | int | float):
        return quoted(text)
    if kind == "inputs" and text.startswith("[") and text.endswith("]"):
        return f"[{_each_as_typed(key, text[1:-1], kind)}]"
    if sweeping and "," in text:
        return _each_as_typed(key, text, kind)
    splits = isinstance(value, Sweep) and not sweeping
    is_no_text = value is REFUSED or splits or isinstance(value, list | dict)
    if kind == "output" and is_no_text and "${" not in text:
        return quoted(text)
    as_one = shlex.quote(f"{key}={quoted(text)}")
    if value is REFUSED:
        raise ConfigError(
            f"{key}={text} is not there, and has characters that Hydra interprets: correct "
            f"the path, or put it in quotes, as {as_one}"
        )
    if splits:
        several = f"give a list, as {key}=[a,b]" if kind == "inputs" else "add -m to run each"
        raise ConfigError(
            f"'{key}={text}' names several values: {several}; or, if it is one path, put it in "
            f"quotes, as {as_one}"
        )
    return text


def _each_as_typed(key: str, text: str, kind: str) -> str:
    """Several paths between commas, each so that Hydra reads it as it was typed."""
    accepted = _parsed(text) is not REFUSED
    if accepted and re.search("['\"]", text):
        return text  # in quotes already
    return ",".join(
        piece if accepted and not _exists(piece) else _as_typed(key, piece, kind, sweeping=False)
        for piece in _pieces(text)
    )


def _pieces(text: str) -> Iterator[str]:
    """The parts between commas, of which those stay together that are one path that is there."""
    parts = text.split(",")
    while parts:
        for count in range(len(parts), 0, -1):
            piece = expand_home(",".join(parts[:count]).lstrip())
            if _exists(piece):
                break
        yield piece
        parts = parts[count:]


def _parsed(text: str) -> Any:
    """What Hydra makes of a value: text, a number, a Sweep, ...; REFUSED if it cannot read it."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return REFUSED


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for a name that is too long)


def _now(found: re.Match[str]) -> str:
    return time.strftime(found[1])
