"""What a call does around a command's work: settings in, errors and interrupts out."""

import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose
from omegaconf import DictConfig

from resnet_degradation.cli.guesses import refuse_guesses
from resnet_degradation.cli.messages import explain, explain_parser_error, refuse_unknown_keys
from resnet_degradation.config.arguments import as_written, paths_as_typed
from resnet_degradation.system.errors import (
    BROKEN_PIPE,
    ConfigError,
    Stopped,
    UserError,
    one_line_warnings,
)
from resnet_degradation.training.advice import forget_advice

# Groups whose option is named like a setting in them: data={"name": "folder", "root": ...}.
NAMED = ("data", "recipe")


class Interrupted(KeyboardInterrupt):
    """A signal, once the run is saved."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"KeyboardInterrupt: {self}"]


@contextmanager
def as_command(schema: type[Any]) -> Iterator[None]:
    """Raise what a command prints, and leave the process as it was.

    What the user can fix becomes a UserError with the command's one line; a bug stays what it is.
    A signal ends in KeyboardInterrupt once the run is saved; all but Ctrl-C are first sent again,
    for the handlers of the caller's program.
    """
    formatwarning = warnings.formatwarning
    forget_advice()
    one_line_warnings()
    try:
        yield
    except Stopped as stop:
        number, message = stop.exit_code - 128, str(stop).replace("same command", "same call")
        if number not in (signal.SIGINT, BROKEN_PIPE):
            print(message, file=sys.stderr, flush=True)
            signal.raise_signal(number)
        raise Interrupted(message) from None
    except KeyboardInterrupt:
        raise Interrupted("stopped: the same call resumes what is saved") from None
    except UserError:
        raise
    except Exception as error:
        if (explained := explain(error, schema)) is None:
            raise
        raise UserError(" ".join(explained.split())) from error
    finally:
        warnings.formatwarning = formatwarning


def overrides_of(
    overrides: str | Sequence[str], settings: Mapping[str, Any], schema: type[Any]
) -> list[str]:
    """Settings of a call as the command takes them: keyword arguments first, then `overrides`."""
    typed = [overrides] if isinstance(overrides, str) else list(overrides)
    return [*_written(settings), *paths_as_typed(typed, schema)]


def _written(settings: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _written(value, f"{section}{name}.")
        elif name == "name" and section.rstrip(".") in NAMED:
            yield f"{section.rstrip('.')}={as_written(value)}"
        else:
            yield f"{section}{name}={as_written(value)}"


def composed(command: str, schema: type[Any], arguments: Sequence[str]) -> DictConfig:
    """What Hydra composes of a command's arguments, inside `own_hydra`.

    command: the name of its configuration. Raises ConfigError or an error of Hydra.
    """
    refuse_guesses(arguments, schema)
    try:
        config = compose(command, overrides=list(arguments))
    except Exception as error:
        if explain(error, schema) is None and (message := explain_parser_error(error)):
            raise ConfigError(message) from error
        raise
    refuse_unknown_keys(config, schema)
    return config
