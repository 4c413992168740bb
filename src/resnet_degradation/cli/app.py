"""Common parts of all commands: Hydra reads arguments; errors become one line and an exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from resnet_degradation import __version__
from resnet_degradation.cli.compose import config_folder, register_schemas
from resnet_degradation.cli.guesses import refuse_guesses
from resnet_degradation.cli.messages import explain, explain_parser_error, refuse_unknown_keys
from resnet_degradation.config.arguments import quote_paths
from resnet_degradation.system.encoding import accept_any_locale
from resnet_degradation.system.errors import (
    BROKEN_PIPE,
    ConfigError,
    Stopped,
    UserError,
    use_one_line_warnings,
)
from resnet_degradation.system.os_signals import end_on_signals
from resnet_degradation.system.process import (
    find_rendezvous_problem,
    get_rank,
    limit_openmp_spinning,
)

if TYPE_CHECKING:
    from resnet_degradation.console.progress import RunProgress


def run_command(
    command: Callable[[DictConfig], None], config_name: str, schema: type[Any]
) -> NoReturn:
    """Compose the configuration from the command line, run the command, and exit.

    Exits with 0, or with the error's code after printing its message on standard error. Bugs keep
    their traceback. In a sweep, a failed job does not stop the others.
    """
    _prepare_process()
    if "--version" in sys.argv[1:]:
        print(f"resnet-degradation {__version__}")
        sys.exit(0)
    failures: list[tuple[str, int]] = []  # each job's overrides and its exit code
    composed_any = False

    def job(composed: DictConfig) -> None:
        nonlocal composed_any
        composed_any = True
        _return_to_starting_folder()
        try:
            refuse_unknown_keys(composed, schema)
            command(composed)
        except Exception as error:
            message = explain(error, schema)
            if message is None:
                raise
            if is_sweeping() and not runs_in_this_process():
                raise  # the launcher must see that the job failed
            name = " ".join(job_overrides())
            _print_error(f"{name}: {message}" if is_sweeping() else message, error)
            failures.append((name, error.exit_code if isinstance(error, UserError) else 2))

    try:
        refuse_guesses(sys.argv[1:], schema)
        sys.argv[1:] = quote_paths(sys.argv[1:], schema)
        hydra.main(str(config_folder()), config_name, version_base="1.3")(job)()
    except BrokenPipeError:
        _exit_after_flush(128 + BROKEN_PIPE)  # as in `resnet-train --help | head -1`
    except Stopped as stop:
        with suppress(OSError):  # the terminal may be gone
            if get_rank() == 0:
                print(stop, file=sys.stderr, flush=True)
        _exit_after_flush(stop.exit_code)
    except Exception as error:
        message = explain(error, schema)
        if message is None and not composed_any:
            message = explain_parser_error(error)
        if message is None:
            raise
        _print_error(message, error)
        sys.exit(ConfigError.exit_code)
    if len(failures) > 1 and get_rank() == 0:
        _print_error(f"{len(failures)} jobs failed: {'; '.join(name for name, _ in failures)}")
    sys.exit(failures[0][1] if failures else 0)


def _prepare_process() -> None:
    """Prepare the process for any command, before torch is loaded."""
    limit_openmp_spinning()
    accept_any_locale()
    use_one_line_warnings()
    # Make Hydra raise errors; by default it prints part of a traceback and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    end_on_signals()
    register_schemas()


def runs_in_this_process() -> bool:
    """Whether Hydra's basic launcher is used, which runs jobs one after another in this process."""
    return str(HydraConfig.get().launcher._target_).endswith("BasicLauncher")


def is_sweeping() -> bool:
    """Whether the command was started with -m."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def job_overrides() -> list[str]:
    """The overrides of this job."""
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return cast(list[str], given)


@contextmanager
def shown_progress(quiet: bool = False) -> Iterator["RunProgress"]:
    """Show progress on standard output unless `quiet`; remove the bars at the end."""
    from resnet_degradation.console.progress import RunProgress  # slow to import
    from resnet_degradation.console.terminal import Terminal

    progress = RunProgress(Terminal(quiet))
    try:
        yield progress
    finally:
        progress.end()


def _return_to_starting_folder() -> None:
    """In a launcher's job, change to the folder from which the command was started.

    Relative paths then mean the same in the job.
    """
    # Without resolve=True, so that no interpolation is resolved.
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime)
    with suppress(OSError):  # the job's machine may not have the folder
        os.chdir(runtime["cwd"])


def _print_error(message: str, error: Exception | None = None) -> None:
    """Print one line. Of several processes with the same error, only one prints it."""
    if getattr(error, "rank", 0) != get_rank() and not find_rendezvous_problem():
        return
    prefix = f"error: rank {get_rank()}: " if get_rank() > 0 else "error: "
    with suppress(OSError):  # the terminal may be gone
        print(prefix + " ".join(message.split()), file=sys.stderr)


def _exit_after_flush(code: int) -> NoReturn:
    flush_output()
    sys.exit(code)


def flush_output() -> None:
    """Flush standard output, also if its reader is gone: Python would print an error at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
