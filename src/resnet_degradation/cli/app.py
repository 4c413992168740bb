"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from resnet_degradation import __version__
from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.cli.messages import _explain, _unknown_key, valid_keys
from resnet_degradation.config.arguments import paths_as_typed
from resnet_degradation.system.encoding import accept_any_locale
from resnet_degradation.system.errors import (
    BROKEN_PIPE,
    ConfigError,
    Stopped,
    UserError,
    one_line_warnings,
)
from resnet_degradation.system.os_signals import end_on_signals
from resnet_degradation.system.process import rank, rendezvous_problem


def _is_basic(launcher: Any) -> bool:
    """Whether it is Hydra's own launcher, which runs jobs one after another in this process."""
    return str(launcher._target_).endswith("BasicLauncher")


def _is_sweeping() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _overrides() -> list[str]:
    """What this job was given on the command line."""
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return cast(list[str], given)


def _return_to_folder_of_call() -> None:
    """Let relative paths mean in a job of a launcher what they mean where it was started."""
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)
    with suppress(OSError):  # there may be no such folder on the machine of the job
        os.chdir(runtime["cwd"])


def _main(run: Callable[[DictConfig], None], config_name: str, schema: type[Any]) -> NoReturn:
    """Compose the configuration from the command line, run it, and exit.

    Exits with 0, or with the code of the error, after saying it in one line on standard error.
    In a sweep, a failed job does not keep the others from running.
    """
    accept_any_locale()
    one_line_warnings()
    # Hydra would print part of a traceback and exit; this makes it raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    end_on_signals()
    register_schemas()
    _read_arguments(schema)
    failures: list[tuple[str, int]] = []  # the job's overrides and its exit code
    began = False

    def task(composed: DictConfig) -> None:
        nonlocal began
        began = True
        _return_to_folder_of_call()
        try:
            _refuse_unknown(composed, schema)
            run(composed)
        except Exception as error:
            message = _explain(error, schema)
            if message is None:
                raise  # a bug: it keeps its traceback
            sweeping = _is_sweeping()
            if sweeping and not _is_basic(HydraConfig.get().launcher):
                raise  # the job runs in another process: its launcher has to see the failure
            job = " ".join(_overrides())
            if _speaks(error):
                _complain(f"{job}: {message}" if sweeping else message)
            failures.append((job, error.exit_code if isinstance(error, UserError) else 2))

    entry_point = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(task)
    try:
        entry_point()
    except BrokenPipeError:
        _leave(128 + BROKEN_PIPE)  # as `resnet-train --help | head -1`
    except Stopped as stop:
        with suppress(OSError):  # the terminal may be gone, or whoever read our output
            if rank() == 0:
                print(stop, file=sys.stderr, flush=True)
        _leave(stop.exit_code)
    except Exception as error:
        message = _explain(error, schema)
        if message is None and not began:
            message = _explain_unread(error)
        if message is None:
            raise
        if _speaks(error):
            _complain(message)
        sys.exit(ConfigError.exit_code)
    if len(failures) > 1 and rank() == 0:
        _complain(f"{len(failures)} jobs failed: {'; '.join(job for job, _ in failures)}")
    sys.exit(failures[0][1] if failures else 0)


def _read_arguments(schema: type[Any]) -> None:
    """What Hydra does not know: --version, and paths of any characters."""
    if "--version" in sys.argv[1:]:
        print(f"resnet-degradation {__version__}")
        sys.exit(0)
    try:
        sys.argv[1:] = paths_as_typed(sys.argv[1:], schema)
    except ConfigError as error:
        if _speaks(error):
            _complain(str(error))
        sys.exit(error.exit_code)


def _leave(code: int) -> NoReturn:
    """Exit with this code, also if nobody is left to read what was printed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _speaks(error: Exception) -> bool:
    """Whether it is for this process to say what failed, where a run has several."""
    return getattr(error, "rank", 0) == rank() or bool(rendezvous_problem())


def _complain(message: str) -> None:
    prefix = f"error: rank {rank()}: " if rank() > 0 else "error: "
    with suppress(OSError):  # the terminal may be gone
        print(prefix + " ".join(message.split()), file=sys.stderr)


def _refuse_unknown(composed: DictConfig, schema: type[Any]) -> None:
    """Raise ConfigError for a key that was forced in with +key=value, or out with ~key."""
    known, composed_keys = valid_keys(schema), list(_composed_keys(composed))
    for key in composed_keys:
        if key not in known:
            raise ConfigError(_unknown_key(key, schema))
    for key in known:
        if key not in composed_keys:
            raise ConfigError(f"{key} cannot be taken out with ~: omit ~{key} for its default")


def _composed_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, node):
        key = f"{prefix}{name}"
        yield key
        if not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _composed_keys(node[name], f"{key}.")


def _explain_unread(error: Exception) -> str | None:
    """Why Hydra could not read the settings, in one line; None if it is a bug."""
    if not __debug__:  # its parser counts on assertions
        return "these settings cannot be read under python -O: unset PYTHONOPTIMIZE"
    return f"these settings cannot be read: {error}" if isinstance(error, ValueError) else None
