"""How a study runs its runs: one after another, in worker processes, or by a Hydra launcher.

A failed run does not stop the others. A run in another process is watched through its record.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from queue import SimpleQueue

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.records.lock import lock_owner, signal_runs
from resnet_degradation.records.summary import is_finished
from resnet_degradation.studies.progress import TICK, StudyProgress
from resnet_degradation.system.encoding import ascii_fallback
from resnet_degradation.system.errors import ConfigError, Stopped, explain, one_line_warnings
from resnet_degradation.system.os_signals import (
    SAVING,
    handle_signals,
    ignore_interrupts,
    print_from_handler,
)
from resnet_degradation.system.process import num_cpus

STOPPING = "stopping after the iterations under way (again: at once)"
Failures = dict[int, str]  # position of a run -> why it failed


def check_jobs(run: Config, jobs: int) -> None:
    """Raise ConfigError unless `jobs` such runs can train at once."""
    if jobs > 1 and run.runtime.devices != 1:
        raise ConfigError(
            f"jobs={jobs} with runtime.devices={run.runtime.devices}: the devices are for one run "
            "at a time, so give one of them"
        )


def waves(runs: list[Config]) -> list[list[Config]]:
    """First the runs that need no other, then those that extend a finished one."""
    parts = [[run for run in runs if (run.extends is not None) == later] for later in (False, True)]
    return [part for part in parts if part]


def run_in_turn(runs: list[Config], view: StudyProgress) -> Failures:
    """One run after another, in this process."""
    from resnet_degradation.training.session import train

    failures = {}
    for position, run in enumerate(runs):
        failure = None
        try:
            train(run, view.of(run))
        except Exception as error:
            failures[position] = failure = _reason(error)
        view.over(run, failure)
    return failures


def run_at_once(runs: list[Config], jobs: int, view: StudyProgress) -> Failures:
    """Up to `jobs` runs at once in as many processes; a process that dies fails only its run."""
    num_workers = min(jobs, len(runs))
    idle: SimpleQueue[tuple[int, ProcessPoolExecutor]] = SimpleQueue()
    for slot in range(num_workers):
        idle.put((slot, _new_worker(slot)))

    def train_in_worker(run: Config) -> str | None:
        slot, worker = idle.get()
        try:
            return worker.submit(_train_quietly, run).result()
        except BrokenProcessPool:
            worker = _new_worker(slot)
            return "its process ended unexpectedly (killed by the system, if memory ran out)"
        finally:
            idle.put((slot, worker))

    threads = ThreadPoolExecutor(num_workers)
    # The share of threads does not grow when few runs are left: a resumed run must use as many.
    shares = [with_share_of_threads(run, jobs) if jobs > 1 else run for run in runs]
    pending = {threads.submit(train_in_worker, run): i for i, run in enumerate(shares)}
    try:
        with handle_signals(
            {SAVING: lambda number, _: signal_runs(runs, number)} if SAVING else {}
        ):
            failures = _watch(pending, runs, view)
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        _terminate(multiprocessing.active_children())
        raise
    threads.shutdown()
    for _ in range(num_workers):
        idle.get()[1].shutdown()
    return failures


def _new_worker(slot: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, init_worker, (slot,))


def _watch(
    pending: dict[Future[str | None], int], runs: list[Config], view: StudyProgress
) -> Failures:
    """Show progress until the last run has ended."""
    failures = {}
    while pending:
        ended, _ = wait(pending, timeout=TICK, return_when=FIRST_COMPLETED)
        for future in ended:
            position = pending.pop(future)
            if (failure := future.result()) is not None:
                failures[position] = failure
            view.over(runs[position], failure)
        for future, position in pending.items():
            if future.running():
                view.of(runs[position]).read()
    return failures


def _terminate(processes: list[multiprocessing.process.BaseProcess]) -> None:
    """Let processes save their runs; kill them if another signal arrives."""
    print_from_handler(STOPPING)
    for process in processes:
        process.terminate()
    try:
        for process in processes:
            process.join()
    except BaseException:
        for process in processes:
            process.kill()
        raise


def run_by_launcher(
    runs: list[Config], parts: list[int], arguments: list[str], log: Path, view: StudyProgress
) -> Failures:
    """Each run as a job of the Hydra launcher that the command's arguments choose.

    parts: the runs' numbers in the study. The jobs print to `log`.
    """
    command = [
        *(sys.executable, "-m", "resnet_degradation.study", "--multirun", *arguments),
        f"part={','.join(map(str, parts))}",
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    watched = dict(enumerate(runs))
    with log.open("wb") as stream:
        launcher = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while launcher.poll() is None:
                time.sleep(TICK)
                for position, run in list(watched.items()):
                    if is_finished(run_folder(run)):
                        view.over(watched.pop(position), None)
                    else:
                        view.of(run).read()
        finally:
            _end_session(launcher, runs)
    failures = {}
    for position, run in watched.items():
        if not is_finished(run_folder(run)):
            failures[position] = f"its job did not finish: see {log}"
        view.over(run, failures.get(position))
    return failures


def _end_session(launcher: "subprocess.Popen[bytes]", runs: list[Config]) -> None:
    """Stop a launcher and its jobs on this machine (jobs of a cluster keep running).

    The jobs save their runs first. The launcher is suspended meanwhile, because some launchers
    kill all jobs when one ends.
    """
    if launcher.poll() is None:
        print_from_handler(STOPPING)
        os.kill(launcher.pid, signal.SIGSTOP)
    try:
        signal_runs(runs, signal.SIGTERM)
        while any(
            lock_owner(run_folder(run), run.output_dir, run.runtime.lock) is not None
            for run in runs
        ):
            time.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()


def with_share_of_threads(run: Config, jobs: int) -> Config:
    """The run with its share of the CPU threads, unless runtime.num_threads is set."""
    if run.runtime.num_threads > 0:
        return run
    share = max(1, num_cpus() // jobs)
    return replace(run, runtime=replace(run.runtime, num_threads=share))


def init_worker(slot: int) -> None:
    """Set up a worker process: it exits when the study does, and uses the GPU of its slot."""
    ignore_interrupts()
    ascii_fallback()
    one_line_warnings()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait_for_end([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    if (num_gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(slot % num_gpus)


def _train_quietly(run: Config) -> str | None:
    from resnet_degradation.console.progress import NullProgress
    from resnet_degradation.training.launch import train_on_devices

    try:
        train_on_devices(run, NullProgress())
    except Stopped as stop:
        os._exit(stop.exit_code)  # as an exception it would be kept for the study, which is ending
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """Why a run failed, in one line; a bug shows its traceback first."""
    if (message := explain(error)) is not None:
        return message
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error} (a bug: see the traceback)"
