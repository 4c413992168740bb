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
from resnet_degradation.config.validate import check_processes
from resnet_degradation.console.progress import NullProgress, Progress, RunProgress
from resnet_degradation.console.terminal import Terminal
from resnet_degradation.records.lock import signal_runs
from resnet_degradation.records.run_folder import last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.encoding import ascii_fallback
from resnet_degradation.system.errors import (
    ConfigError,
    LostContactError,
    PeerFailedError,
    Stopped,
    UserError,
    explain,
    one_line_warnings,
)
from resnet_degradation.system.os_signals import (
    REQUEUE_SIGNALS,
    SAVE_SIGNAL,
    STOP_SIGNALS,
    end_on_signals,
    forward_signal,
    handle_signals,
    submitit_signals,
)
from resnet_degradation.system.process import limit_openmp_spinning, process_info, rank

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# Signals whose handlers the elastic launcher replaces and does not restore.
LAUNCHER_SIGNALS = [*STOP_SIGNALS, *([signal.SIGQUIT] if hasattr(signal, "SIGQUIT") else [])]

# Seconds that workers have to save the run when they are asked to stop.
SAVE_SECONDS = 120

# A worker that lost contact exits this many seconds later, so that the launcher first sees the
# worker that died.
GRACE = 1.0


def train_on_devices(config: Config, progress: Progress) -> Path:
    """Train in this process, or in as many workers as `runtime.devices` asks for; see `train`.

    Rank 0 of the workers shows progress itself. A job that its cluster preempts is requeued once
    the run is saved.
    """
    folder = run_folder(config)
    try:
        count = num_processes(config) if process_info() is None else 1
        if count > 1 and not is_finished(folder):
            check_processes(config, count)
            check_devices(config, count)
            launch(config, count, quiet=isinstance(progress, NullProgress))
            return folder
        # Slow to import, and a launcher does not need it.
        from resnet_degradation.training.session import train

        return train(config, progress)
    except Stopped as stop:
        forward_signal(stop.exit_code - 128)
        raise


def num_processes(config: Config) -> int:
    """The processes that `runtime.devices` asks for; auto: one per GPU, or one on a CPU."""
    devices = config.runtime.devices
    if devices != "auto":
        return int(devices)
    return 1 if config.runtime.device == "cpu" else max(1, torch.cuda.device_count())


def check_devices(config: Config, count: int) -> None:
    """Raise ConfigError if there are GPUs, but fewer than `count`."""
    num_gpus = 0 if config.runtime.device == "cpu" else torch.cuda.device_count()
    if 0 < num_gpus < count:
        gpus = "is 1 GPU" if num_gpus == 1 else f"are {num_gpus} GPUs"
        raise ConfigError(
            f"runtime.devices={count}, but there {gpus} here: set it to "
            f"{num_gpus}, or set runtime.device=cpu"
        )


def launch(config: Config, count: int, quiet: bool = False) -> None:
    """Train in `count` workers. Raises UserError if they fail, Stopped on a signal.

    If a worker dies, all restart from the last checkpoint, up to `runtime.max_restarts` times.
    """
    # A single process does not need these, and on macOS importing them prints a note.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    folder = run_folder(config)
    preempted: list[int] = []

    def save(number: int, _frame: object) -> None:
        signal_runs([config], number)

    def preempt(number: int, _frame: object) -> None:
        preempted.append(number)
        raise SignalException("preempted", signal.SIGTERM)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in LAUNCHER_SIGNALS}
    handlers |= {SAVE_SIGNAL: save} if SAVE_SIGNAL is not None else {}
    handlers |= dict.fromkeys(submitit_signals(), preempt)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # inherited by the workers
    limit_openmp_spinning()
    with (
        TemporaryDirectory(prefix="resnet-train-") as logs,
        handle_signals(handlers),
        ExitStack() as at_end,
    ):
        # Silence what torch logs about workers that exit: our own message is one line.
        at_end.callback(logging.disable, logging.root.manager.disable)
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
        # Signals that are ignored (nohup) stay ignored.
        handled = [n.name for n in LAUNCHER_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        wanted = {"signals_to_handle": ",".join(handled), "shutdown_timeout": SAVE_SECONDS}
        for name in wanted.keys() & vars(settings).keys():  # not all versions of torch have them
            setattr(settings, name, wanted[name])
        try:
            outcomes: dict[int, Stopped | UserError | None] = elastic_launch(settings, work)(
                config, quiet
            )
        except SignalException as error:
            number = preempted[0] if preempted else int(error.sigval)
            raise Stopped(number, f"{run_name(config)} stopped. {how_to_resume(folder)}") from None
        except ChildFailedError as error:
            raise _worker_error(*error.get_first_failure(), folder) from None
    failures = [failure for failure in outcomes.values() if failure is not None]
    if failures:
        raise max(failures, key=lambda each: (isinstance(each, Stopped), bool(str(each))))


def work(config: Config, quiet: bool) -> Stopped | UserError | None:
    """The main function of a worker.

    It returns errors that the user can fix, because raising one would restart all workers. The
    message is empty if another worker reports the cause.
    """
    ascii_fallback()
    one_line_warnings()
    end_on_signals()
    for number in REQUEUE_SIGNALS:  # Slurm sends them to all processes; only the launcher acts
        signal.signal(number, signal.SIG_IGN)
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if restarts > 0 and rank() == 0:
        warnings.warn(
            f"a process of {run_name(config)} died: all processes restart "
            f"({restarts} of runtime.max_restarts={config.runtime.max_restarts})",
            stacklevel=1,
        )
    try:
        from resnet_degradation.training.session import train

        train(config, NullProgress() if quiet else RunProgress(Terminal()))
    # Make new errors, because the traceback of the caught error would keep the run in memory.
    except Stopped as stop:
        failure: Stopped | UserError = Stopped(stop.exit_code - 128, stop.message)
        exit_after = GRACE
    except PeerFailedError:
        failure, exit_after = UserError(""), config.runtime.timeout
    except LostContactError as error:
        exit_if_stopped(error.exit_code)
        time.sleep(GRACE)
        raise
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        prefix = f"rank {rank()}: " if rank() > 0 else ""
        failure, exit_after = UserError(prefix + message), config.runtime.timeout
        failure.exit_code = getattr(error, "exit_code", UserError.exit_code)
    else:
        return None
    # Freeing the run closes its connections, which tells the other workers that this one failed.
    gc.collect()
    # The launcher waits until all workers have returned, but not forever.
    exit_if_stopped(failure.exit_code)
    timer = threading.Timer(exit_after, os._exit, [failure.exit_code])
    timer.daemon = True
    timer.start()
    return failure


def exit_if_stopped(code: int) -> None:
    """Exit this process silently on any signal that asks it to stop."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))


def how_to_resume(folder: Path) -> str:
    """A sentence that says from which iteration the same command resumes."""
    saved = last_checkpoint_iteration(folder)
    return f"The same command resumes from iteration {saved:,}" if saved else "Nothing was saved"


def _worker_error(number: int, failure: "ProcessFailure", folder: Path) -> UserError:
    """The error of a run whose worker of rank `number` died first."""
    reported, code = failure.error_file_data["message"], failure.exitcode
    if isinstance(reported, dict):
        name, _, message = reported["message"].partition(": ")
        if name == LostContactError.__name__:
            return LostContactError(message)
        print(reported["extraInfo"]["py_callstack"], file=sys.stderr)
        what = f"rank {number} failed with a bug, {name}"
    else:  # it was killed
        reason = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        )
        what = f"rank {number} (process {failure.pid}) {reason}"
    error = UserError(f"{what}. {how_to_resume(folder)}")
    error.exit_code = 1
    return error
