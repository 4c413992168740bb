"""Common parts of the calls in Python: they translate settings, errors and signals."""

import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hydra import compose
from omegaconf import DictConfig

from resnet_degradation.cli.guesses import refuse_guesses
from resnet_degradation.cli.messages import explain, explain_parser_error, refuse_unknown_keys
from resnet_degradation.config.arguments import quote_paths, to_override
from resnet_degradation.system.errors import (
    BROKEN_PIPE,
    ConfigError,
    Stopped,
    UserError,
    use_one_line_warnings,
)
from resnet_degradation.training.advice import forget_advice

# Groups of Hydra. In a dictionary, `name` chooses the option: data={"name": "folder", "root": ...}
# means data=folder data.root=...
GROUPS = ("data", "recipe")

# How the settings of a section are written.
SECTIONS = {
    "data": "data='cifar10' or data=dict(name='folder', root='images')",
    "recipe": "recipe='quick' or recipe=dict(iterations=300)",
    "runtime": "runtime=dict(num_threads=1)",
    "study": "the name of a study, such as rd.study('quick')",
}


def interruption(message: str) -> KeyboardInterrupt:
    """The error for a signal, after the run is saved.

    Not a subclass, for which Python would not end a script with the exit code of an interrupt.
    """
    error = KeyboardInterrupt(message)
    # What IPython shows in place of a traceback.
    error._render_traceback_ = partial(list, [f"KeyboardInterrupt: {message}"])  # type: ignore[attr-defined]
    return error


@contextmanager
def as_command(schema: type[Any]) -> Iterator[None]:
    """Raise the errors that a command would print, and leave the process as it was.

    An error that the user can fix becomes a UserError with the command's one line; a bug keeps its
    type. A signal raises KeyboardInterrupt after the run is saved. Signals other than Ctrl-C are
    first raised again, so that the handlers of the caller's program receive them.
    """
    formatwarning = warnings.formatwarning
    forget_advice()
    use_one_line_warnings()
    try:
        yield
    except Stopped as stop:
        number, message = stop.signum, str(stop).replace("same command", "same call")
        if number not in (signal.SIGINT, BROKEN_PIPE):
            print(message, file=sys.stderr, flush=True)
            signal.raise_signal(number)
        raise interruption(message) from None
    except KeyboardInterrupt:
        raise interruption("stopped: the same call resumes what is saved") from None
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
    """A call's settings as arguments of the command: keyword arguments first, then `overrides`.

    Raises ConfigError for a value that cannot be a setting.
    """
    typed = [overrides] if isinstance(overrides, str) else overrides
    if not isinstance(typed, Sequence) or not all(isinstance(each, str) for each in typed):
        raise ConfigError(f"{overrides!r} is no setting: name it, as in depth=20 or ['depth=20']")
    return [*_written(settings), *quote_paths(list(typed), schema)]


def _written(settings: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if name in SECTIONS and not section and not isinstance(value, str | Mapping):
            expected = SECTIONS[name]
            raise ConfigError(f"{name}={value!r} is no setting: write {expected}")
        if isinstance(value, Mapping):
            yield from _written(value, f"{section}{name}.")
        elif name == "name" and section.rstrip(".") in GROUPS:
            yield f"{section.rstrip('.')}={to_override(value)}"
        else:
            yield f"{section}{name}={to_override(value)}"


def composed(command: str, schema: type[Any], arguments: Sequence[str]) -> DictConfig:
    """The configuration that Hydra composes from a command's arguments; call it in `own_hydra`.

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
