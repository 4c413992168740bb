"""Starts the processes of a run on this machine, with torch's elastic launcher."""

import gc
import logging
import os
import signal
import sys
import threading
import time
import uuid
import warnings
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from resnet_degradation.config.identity import run_folder, run_name
from resnet_degradation.config.schema import Config
from resnet_degradation.config.validate import check_batch_division
from resnet_degradation.console.progress import NullProgress, Progress, RunProgress
from resnet_degradation.console.terminal import Terminal
from resnet_degradation.records.lock import signal_runs
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.encoding import use_ascii_fallback
from resnet_degradation.system.errors import (
    ConfigError,
    LostContactError,
    PeerFailedError,
    Stopped,
    UserError,
    explain,
    use_one_line_warnings,
)
from resnet_degradation.system.os_signals import (
    REQUEUE_SIGNALS,
    SAVE_SIGNAL,
    STOP_SIGNALS,
    end_on_signals,
    find_submitit_signals,
    forward_signal,
    handle_signals,
)
from resnet_degradation.system.process import get_rank, limit_openmp_spinning, read_process_info

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Signals whose handlers the elastic launcher replaces and does not restore.
LAUNCHER_SIGNALS = [*STOP_SIGNALS, *([signal.SIGQUIT] if hasattr(signal, "SIGQUIT") else [])]

# Seconds that workers get to save the run after a stop signal.
SAVE_SECONDS = 120

# Seconds that a worker waits before it exits because it lost contact. This lets the launcher first
# notice the worker that died.
EXIT_DELAY = 1.0


def train_on_devices(config: Config, progress: Progress) -> Path:
    """Train a run in this process, or in several workers if `runtime.devices` asks for them.

    With workers, rank 0 shows the progress. A preempted cluster job is requeued once its run is
    saved.
    """
    folder = run_folder(config)
    try:
        count = num_processes(config) if read_process_info() is None else 1
        if count > 1 and not is_finished(folder):
            check_batch_division(config, count)
            check_gpu_count(config, count)
            launch_workers(config, count, quiet=isinstance(progress, NullProgress))
            return folder
        # Imported here because it is slow to import and the launcher does not need it.
        from resnet_degradation.training.session import train

        return train(config, progress)
    except Stopped as stop:
        forward_signal(stop.signum)
        raise


def num_processes(config: Config) -> int:
    """Return how many processes `runtime.devices` asks for; auto: one per GPU, or one on a CPU."""
    devices = config.runtime.devices
    if devices != "auto":
        return int(devices)
    return 1 if config.runtime.device == "cpu" else max(1, torch.cuda.device_count())


def check_gpu_count(config: Config, count: int) -> None:
    """Raise ConfigError if there are GPUs, but fewer than `count`."""
    num_gpus = 0 if config.runtime.device == "cpu" else torch.cuda.device_count()
    if 0 < num_gpus < count:
        gpus = "is 1 GPU" if num_gpus == 1 else f"are {num_gpus} GPUs"
        raise ConfigError(
            f"runtime.devices={count}, but there {gpus} here: set "
            f"runtime.devices={num_gpus} or runtime.device=cpu"
        )


def launch_workers(config: Config, count: int, quiet: bool = False) -> None:
    """Train a run in `count` workers. Raises UserError if they fail, Stopped on a signal.

    If a worker dies, all restart from the last checkpoint, up to `runtime.max_restarts` times.
    """
    # Imported here because a single process does not need them, and on macOS they print a note.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    folder = run_folder(config)
    preempt_signals: list[int] = []

    def save(signum: int, _frame: object) -> None:
        signal_runs([config], signum)

    def preempt(signum: int, _frame: object) -> None:
        preempt_signals.append(signum)
        raise SignalException("preempted", signal.SIGTERM)

    handlers: dict[int, Any] = {sig: signal.getsignal(sig) for sig in LAUNCHER_SIGNALS}
    handlers |= {SAVE_SIGNAL: save} if SAVE_SIGNAL is not None else {}
    handlers |= dict.fromkeys(find_submitit_signals(), preempt)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # inherited by the workers
    limit_openmp_spinning()
    with (
        TemporaryDirectory(prefix="resnet-train-") as logs,
        handle_signals(handlers),
        ExitStack() as cleanup,
    ):
        # Silence torch's logs about workers that exit, because we print one line ourselves.
        cleanup.callback(logging.disable, logging.root.manager.disable)
        logging.disable()
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=config.runtime.max_restarts,
            monitor_interval=0.2,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        # Keep ignoring signals that are ignored, for example because of nohup.
        handled_signals = [
            sig.name for sig in LAUNCHER_SIGNALS if signal.getsignal(sig) is not signal.SIG_IGN
        ]
        optional_settings = {
            "signals_to_handle": ",".join(handled_signals),
            "shutdown_timeout": SAVE_SECONDS,
        }
        # Some versions of torch lack them.
        for name in optional_settings.keys() & vars(settings).keys():
            setattr(settings, name, optional_settings[name])
        try:
            outcomes: dict[int, Stopped | UserError | None] = elastic_launch(settings, run_worker)(
                config, quiet
            )
        except SignalException as error:
            signum = preempt_signals[0] if preempt_signals else int(error.sigval)
            raise Stopped(
                signum, f"{run_name(config)} stopped. {describe_resume(folder)}"
            ) from None
        except ChildFailedError as error:
            raise _make_worker_error(*error.get_first_failure(), folder) from None
    failures = [failure for failure in outcomes.values() if failure is not None]
    if failures:
        # Prefer Stopped, then an error that has a message.
        raise max(failures, key=lambda failure: (isinstance(failure, Stopped), bool(str(failure))))


def run_worker(config: Config, quiet: bool) -> Stopped | UserError | None:
    """Train a run as one of several workers; return an error that the user can fix, or None.

    Raising the error would restart all workers. The message is empty if another worker reports
    the cause.
    """
    use_ascii_fallback()
    use_one_line_warnings()
    end_on_signals()
    for signum in REQUEUE_SIGNALS:  # Slurm sends them to all processes; only the launcher acts
        signal.signal(signum, signal.SIG_IGN)
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if restarts > 0 and get_rank() == 0:
        warnings.warn(
            f"a process of {run_name(config)} died: all processes restart "
            f"({restarts} of runtime.max_restarts={config.runtime.max_restarts})",
            stacklevel=1,
        )
    try:
        from resnet_degradation.training.session import train

        train(config, NullProgress() if quiet else RunProgress(Terminal()))
    # Create new errors, because the traceback of the caught error keeps the run in memory.
    except Stopped as stop:
        failure: Stopped | UserError = Stopped(stop.signum, stop.message)
        exit_after = EXIT_DELAY
    except PeerFailedError:
        failure, exit_after = UserError(""), config.runtime.timeout
    except LostContactError as error:
        exit_on_stop_signals(error.exit_code)
        time.sleep(EXIT_DELAY)
        raise
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        prefix = f"rank {get_rank()}: " if get_rank() > 0 else ""
        failure, exit_after = UserError(prefix + message), config.runtime.timeout
        failure.exit_code = getattr(error, "exit_code", UserError.exit_code)
    else:
        return None
    # Freeing the run closes its connections, which tells the other workers that this one failed.
    gc.collect()
    # The launcher waits until all workers have returned. Exit if that takes too long.
    exit_on_stop_signals(failure.exit_code)
    timer = threading.Timer(exit_after, os._exit, [failure.exit_code])
    timer.daemon = True
    timer.start()
    return failure


def exit_on_stop_signals(code: int) -> None:
    """From now on, make every stop signal end this process silently with exit code `code`."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, lambda *_: os._exit(code))


def describe_resume(folder: Path) -> str:
    """Say from which iteration the same command resumes."""
    iteration = last_checkpoint_iteration(folder)
    if not iteration:
        return "Nothing was saved"
    return f"The same command resumes from iteration {iteration:,}"


def _make_worker_error(failed_rank: int, failure: "ProcessFailure", folder: Path) -> UserError:
    """Make the error of a run in which the worker of rank `failed_rank` died first."""
    reported, code = failure.error_file_data["message"], failure.exitcode
    if isinstance(reported, dict):
        name, _, message = reported["message"].partition(": ")
        if name == LostContactError.__name__:
            return LostContactError(message)
        print(reported["extraInfo"]["py_callstack"], file=sys.stderr)
        problem = f"rank {failed_rank} failed with a bug, {name}"
    else:  # it was killed
        reason = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        )
        problem = f"rank {failed_rank} (process {failure.pid}) {reason}"
    error = UserError(f"{problem}. {describe_resume(folder)}")
    error.exit_code = 1
    return error
