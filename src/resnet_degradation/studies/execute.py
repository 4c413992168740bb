"""Carrying out the runs of a study: one after another, several at once, or by a Hydra launcher.

A run that fails keeps no other from running. A run in another process is watched by its record.
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
    """Raise ConfigError unless `jobs` such runs can be carried out at once."""
    if jobs > 1 and run.runtime.devices != 1:
        raise ConfigError(
            f"jobs={jobs} with runtime.devices={run.runtime.devices}: the devices are for one run "
            "at a time, so give one of them"
        )


def waves(runs: list[Config]) -> list[list[Config]]:
    """First the runs that need no other, then those that begin with the solution of another."""
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
    """Up to `jobs` runs at once, each in one of as many processes; one that dies takes one run."""
    num_processes = min(jobs, len(runs))
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for slot in range(num_processes):
        idle.put(_Worker(slot))
    threads = ThreadPoolExecutor(num_processes)
    pending: dict[Future[str | None], int] = {
        # Not more threads when few runs are left: then an interrupted one would end differently.
        threads.submit(
            _train_by_one_of, idle, with_share_of_threads(run, jobs) if jobs > 1 else run
        ): position
        for position, run in enumerate(runs)
    }
    try:
        with handle_signals(
            {SAVING: lambda number, _: signal_runs(runs, number)} if SAVING else {}
        ):
            failures = _watch(pending, runs, view)
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        _end_orderly(multiprocessing.active_children())
        raise
    threads.shutdown()
    for _ in range(num_processes):
        idle.get().end()
    return failures


def _watch(
    pending: dict[Future[str | None], int], runs: list[Config], view: StudyProgress
) -> Failures:
    """Show how far the runs are until the last has ended."""
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


def _end_orderly(processes: list[multiprocessing.process.BaseProcess]) -> None:
    """Let processes save their runs and end; end them at once if another signal comes."""
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
    """Each run as a job of the Hydra launcher that the arguments of this command choose.

    parts: the runs' numbers in the study. What the jobs print goes to `log`.
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
        failure = None
        if not is_finished(run_folder(run)):
            failures[position] = failure = f"its job did not finish: see {log}"
        view.over(run, failure)
    return failures


def _end_session(launcher: "subprocess.Popen[bytes]", runs: list[Config]) -> None:
    """End a launcher and the jobs that it runs on this machine (jobs of a cluster go on).

    The jobs save their runs first. Meanwhile the launcher is held, because some, when one job
    ends, kill the others.
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
    """The run with its share of the CPU threads, unless it was given a number of them."""
    if run.runtime.num_threads > 0:
        return run
    share = max(1, num_cpus() // jobs)
    return replace(run, runtime=replace(run.runtime, num_threads=share))


class _Worker:
    """A process that carries out one run after another, and is replaced if it dies."""

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._process = self._new()

    def train(self, run: Config) -> str | None:
        """Why the run failed, or None."""
        try:
            return self._process.submit(_train_quietly, run).result()
        except BrokenProcessPool:
            self._process = self._new()
            return "its process ended unexpectedly (killed by the system, if memory ran out)"

    def end(self) -> None:
        """End the process, which has nothing to do."""
        self._process.shutdown()

    def _new(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, init_worker, (self._slot,))


def _train_by_one_of(idle: "SimpleQueue[_Worker]", run: Config) -> str | None:
    worker = idle.get()
    try:
        return worker.train(run)
    finally:
        idle.put(worker)


def init_worker(slot: int) -> None:
    """End when the study's process ends, however it does; use the slot's own GPU, if any."""
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
