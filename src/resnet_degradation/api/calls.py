"""Translates the settings, errors and signals of commands for the Python API."""

import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

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

# Hydra's config groups. In a dictionary, `name` selects the option: data={"name": "folder",
# "root": ...} means data=folder data.root=...
GROUPS = ("data", "recipe")

# Examples of the settings of sections, for error messages.
SECTION_EXAMPLES = {
    "data": "data='cifar10' or data=dict(name='folder', root='images')",
    "recipe": "recipe='quick' or recipe=dict(iterations=300)",
    "runtime": "runtime=dict(num_threads=1)",
    "study": "the name of a study, such as rd.study('quick')",
}


def make_interrupt(message: str) -> KeyboardInterrupt:
    """Make the exception that reports a signal after the run was saved.

    With a subclass of KeyboardInterrupt, Python would end a script with another exit code.
    """
    error = KeyboardInterrupt(message)
    # IPython shows this instead of a traceback.
    error._render_traceback_ = partial(list, [f"KeyboardInterrupt: {message}"])  # type: ignore[attr-defined]
    return error


@contextmanager
def translate_errors(schema: type[Any], resumes: bool = False) -> Iterator[None]:
    """Raise the errors that a command would print, and leave the process as it was.

    An error that the user can fix becomes a UserError with the command's one line; a bug keeps its
    type. A signal raises KeyboardInterrupt after the run is saved. Signals other than Ctrl-C are
    first raised again, so that the handlers of the caller's program receive them.

    resumes: whether the same call goes on after an interrupt, and does not start again.
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
        raise make_interrupt(message) from None
    except KeyboardInterrupt:
        resuming = ": the same call resumes what is saved" if resumes else ""
        raise make_interrupt(f"stopped{resuming}") from None
    except UserError:
        raise
    except Exception as error:
        if (explained := explain(error, schema)) is None:
            raise
        cause = None if isinstance(error, HydraException | OmegaConfBaseException) else error
        raise UserError(" ".join(explained.split())) from cause
    finally:
        warnings.formatwarning = formatwarning


def build_overrides(
    overrides: str | Sequence[str], settings: Mapping[str, Any], schema: type[Any]
) -> list[str]:
    """Return the command's arguments: keyword arguments first, then `overrides`.

    Raises ConfigError if a value cannot be a setting.
    """
    texts = [overrides] if isinstance(overrides, str) else overrides
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"{overrides!r} is not a setting: write key=value, such as 'depth=20' or ['depth=20']"
        )
    return [*_write_overrides(settings), *quote_paths(list(texts), schema)]


def _write_overrides(settings: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if name in SECTION_EXAMPLES and not section and not isinstance(value, str | Mapping):
            expected = SECTION_EXAMPLES[name]
            raise ConfigError(f"{name}={value!r} is not a setting: write {expected}")
        if isinstance(value, Mapping):
            yield from _write_overrides(value, f"{section}{name}.")
        elif name == "name" and section.rstrip(".") in GROUPS:
            yield f"{section.rstrip('.')}={to_override(value)}"
        else:
            yield f"{section}{name}={to_override(value)}"


def compose_command(config_name: str, schema: type[Any], arguments: Sequence[str]) -> DictConfig:
    """Compose a command's configuration from its arguments, inside `isolated_hydra`.

    config_name: the command's file in conf/. Raises ConfigError or one of Hydra's exceptions.
    """
    refuse_guesses(arguments, schema)
    try:
        config = compose(config_name, overrides=list(arguments))
    except Exception as error:
        if explain(error, schema) is None and (message := explain_parser_error(error)):
            raise ConfigError(message) from None
        raise
    refuse_unknown_keys(config, schema)
    return config
