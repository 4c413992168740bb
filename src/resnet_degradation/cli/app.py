"""Common parts of all commands: parse arguments with Hydra, and report errors in one line."""

import argparse
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
    command: Callable[[DictConfig], None],
    config_name: str,
    schema: type[Any],
    resumes: bool = False,
) -> NoReturn:
    """Compose the configuration from the command line, run the command, and exit.

    resumes: whether the same command, once stopped, goes on from what is saved.

    Exits with 0, or with the error's code after printing its message on standard error. Bugs keep
    their traceback. In a sweep, a failed job does not stop the others.
    """
    _prepare_process(resumes)
    if "--version" in sys.argv[1:]:
        print(f"resnet-degradation {__version__}")
        sys.exit(0)
    failures: list[tuple[str, int]] = []  # (overrides, exit code) of each failed job
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
                raise  # let the launcher see that the job failed
            name = " ".join(job_overrides())
            _print_error(f"{name}: {message}" if is_sweeping() else message, error)
            failures.append((name, error.exit_code if isinstance(error, UserError) else 2))

    try:
        refuse_guesses(sys.argv[1:], schema)
        sys.argv[1:] = quote_paths(sys.argv[1:], schema)
        hydra.main(str(config_folder()), config_name, version_base="1.3")(job)()
    except BrokenPipeError:
        _exit_after_flush(128 + BROKEN_PIPE)  # for example, in `resnet-train --help | head -1`
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


def _prepare_process(resumes: bool) -> None:
    """Prepare the process for any command, before torch is loaded."""
    limit_openmp_spinning()
    accept_any_locale()
    use_one_line_warnings()
    argparse.ArgumentParser.error = _refuse_usage  # type: ignore[assignment,method-assign]
    # Make Hydra raise errors; by default it prints part of a traceback and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    end_on_signals(resumes)
    register_schemas()


def _refuse_usage(_parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Raise an error of Hydra's parser of options, which would print its usage and exit."""
    raise ConfigError(
        f"{message}: settings are given as key=VALUE, options before or after all of them, see "
        "--help"
    )


def runs_in_this_process() -> bool:
    """Return whether Hydra uses its basic launcher, which runs all jobs in this process."""
    return str(HydraConfig.get().launcher._target_).endswith("BasicLauncher")


def is_sweeping() -> bool:
    """Return whether the command was started with -m."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def job_overrides() -> list[str]:
    """Return the overrides of this job."""
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return cast(list[str], overrides)


@contextmanager
def show_progress(quiet: bool = False) -> Iterator["RunProgress"]:
    """Show progress on standard output unless `quiet`; remove the bars at the end."""
    from resnet_degradation.console.progress import RunProgress  # slow to import
    from resnet_degradation.console.terminal import Terminal

    progress = RunProgress(Terminal(quiet))
    try:
        yield progress
    finally:
        progress.end()


def _return_to_starting_folder() -> None:
    """Change a launcher's job to the folder where the command was started.

    Relative paths in the job then mean the same as on the command line.
    """
    # By default, to_container leaves interpolations unresolved.
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime)
    with suppress(OSError):  # the folder may not exist on the job's machine
        os.chdir(runtime["cwd"])


def _print_error(message: str, error: Exception | None = None) -> None:
    """Print one line. If several processes have the same error, only one prints it."""
    if getattr(error, "rank", 0) != get_rank() and not find_rendezvous_problem():
        return
    prefix = f"error: rank {get_rank()}: " if get_rank() > 0 else "error: "
    with suppress(OSError):  # the terminal may be gone
        print(prefix + " ".join(message.split()), file=sys.stderr)


def _exit_after_flush(code: int) -> NoReturn:
    flush_output()
    sys.exit(code)


def flush_output() -> None:
    """Flush standard output; if its reader is gone, prevent Python's error message at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
